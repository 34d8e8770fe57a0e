"""pip's way to the Makefile, which alone knows how the C parts are built; pip_backend.py runs it.

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

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


PROGRAMS = ("c4pd", "c4py")
NEEDED = ("zmq.h", "protobuf-c/protobuf-c.h", "event2/event.h", "sqlite3.h", "ini.h", "uthash.h")


def programs_missing():
    """What c4pd and c4py cannot be built without and is not here; empty if all is."""
    compiler = os.environ.get("CC", "gcc")
    missing = [] if shutil.which("protoc-c") else ["protoc-c"]
    for header in NEEDED:
        probe = subprocess.run([compiler, "-E", "-x", "c", "-"], input=f"#include <{header}>\n",
                               text=True, capture_output=True, check=False)
        missing += [header] if probe.returncode else []
    return missing


class BuildByMake(build_ext):
    """The extension c4py._c4py; c4py._control, and in c4py/_bin/ the programs c4pd and c4py.

    A processing element needs only the first, so a machine without the programs' libraries gets
    just that.
    """

    def run(self):
        out = os.path.abspath(os.path.join(self.build_temp, "make"))
        package = os.path.join(HERE, "python") if self.inplace else self.build_lib
        package = os.path.join(package, "c4py")
        self.make(out, "extension")
        os.makedirs(package, exist_ok=True)
        self.copy_extension("_c4py", out, package)

        missing = programs_missing()
        if missing:
            print("c4py: built without c4pd, c4py and c4py.connect(), for want of "
                  f"{', '.join(missing)}; README.md names the packages", file=sys.stderr)
            return
        self.make(out, "programs", "control-extension")
        self.copy_extension("_control", out, package)
        os.makedirs(os.path.join(package, "_bin"), exist_ok=True)
        for name in PROGRAMS:
            shutil.copy2(os.path.join(out, "bin", name), os.path.join(package, "_bin"))

    def copy_extension(self, module, out, package):
        path = os.path.join(out, "python", "c4py", self.extension_name(module))
        shutil.copy2(path, package)

    def make(self, out, *goals):
        command = shutil.which("gmake") or shutil.which("make")
        if command is None:
            sys.exit("c4py: no GNU make here; it builds the extension; install make")
        # Who installs this must not be stopped by a warning of a compiler that is new to us. The
        # interpreter finds the package by itself: the programs need not tell it where.
        command = [command, f"-j{len(os.sched_getaffinity(0))}", f"BUILD={out}",
                   f"PYTHON={sys.executable}", "WERROR=", "PYTHON_DIR=", *goals]
        # A make that runs pip has options of its own in the environment.
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VARIANT", "BUILD")}
        code = subprocess.run(command, cwd=HERE, env=environment, check=False).returncode
        if code:
            sys.exit(f"c4py: `{' '.join(command)}` failed ({code}); the cause is above, and "
                     "README.md names the packages that building needs")

    def extension_name(self, module):
        return os.path.basename(self.get_ext_filename(module))

    def get_outputs(self):
        package = os.path.join(self.build_lib, "c4py")
        names = [self.extension_name("_c4py"), self.extension_name("_control"),
                 *(f"_bin/{name}" for name in PROGRAMS)]
        return [path for path in (os.path.join(package, name) for name in names)
                if os.path.exists(path)]


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
