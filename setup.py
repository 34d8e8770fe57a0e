"""pip's way to the Makefile, which alone knows how the C parts are built.

pyproject.toml has everything else. Nothing is written into the source tree: every product, even
setuptools' own, goes to a temporary directory.
"""
import atexit
import os
import shutil
import subprocess
import sys
import tempfile

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = os.path.dirname(os.path.abspath(__file__))


class BuildByMake(build_ext):
    """The extension c4py._c4py and, beside it in c4py/_bin/, the programs c4pd and c4py."""

    def run(self):
        make = shutil.which("gmake") or shutil.which("make")
        if make is None:
            sys.exit("c4py: GNU make is missing; it builds the extension and the programs")
        out = os.path.abspath(os.path.join(self.build_temp, "make"))
        # The person who installs this must not be stopped by a warning of a compiler new to us.
        command = [make, f"-j{len(os.sched_getaffinity(0))}", f"BUILD={out}",
                   f"PYTHON={sys.executable}", "WERROR=", "extension", "programs"]
        try:
            subprocess.run(command, cwd=HERE, check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(f"c4py: `{' '.join(command)}` failed ({error.returncode}); the packages that "
                     "building needs are in README.md, and on Debian `make deps` installs them")
        package = os.path.join(self.build_lib, "c4py")
        if self.inplace:
            package = os.path.join(HERE, "python", "c4py")
        programs = os.path.join(package, "_bin")
        os.makedirs(programs, exist_ok=True)
        for name in ("c4pd", "c4py"):
            shutil.copy2(os.path.join(out, "bin", name), programs)
        extension = os.path.basename(self.get_ext_filename("_c4py"))
        shutil.copy2(os.path.join(out, "python", "c4py", extension), package)

    def get_outputs(self):
        package = os.path.join(self.build_lib, "c4py")
        extension = os.path.basename(self.get_ext_filename("_c4py"))
        return [os.path.join(package, name) for name in (extension, "_bin/c4pd", "_bin/c4py")]


scratch = tempfile.mkdtemp(prefix="c4py-build-")
atexit.register(shutil.rmtree, scratch, ignore_errors=True)

setup(
    package_dir={"": "python"},
    packages=find_packages("python", include=["c4py*", "charm4py*", "charmrun*"]),
    package_data={"*": ["*.pyi", "py.typed"]},
    ext_modules=[Extension("c4py._c4py", sources=[])],
    cmdclass={"build_ext": BuildByMake},
    options={"egg_info": {"egg_base": scratch}, "build": {"build_base": scratch}},
    zip_safe=False,
)
