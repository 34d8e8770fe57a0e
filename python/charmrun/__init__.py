"""The launcher's name in Charm4py."""
