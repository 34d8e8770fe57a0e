"""The build backend that pyproject.toml names: setuptools with the script beside this file."""

import os

from setuptools import build_meta

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pip_setup.py")


class Backend(build_meta._BuildMetaBackend):
    """setuptools' own backend, as its documentation says to extend it."""

    def run_setup(self, setup_script=SCRIPT):
        """Run our script whatever the name of the usual one."""
        super().run_setup(SCRIPT)


_backend = Backend()
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
