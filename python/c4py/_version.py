"""The version of c4p."""

__version__ = '0.1.0'
