"""What the Makefile must know of the interpreter that runs this, as lines of a makefile."""
import importlib.util
import os
import sys
import sysconfig


def package_dir(name, *places):
    """Directory of an installed package, not imported; or its first existing subdirectory."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{sys.executable}: no package {name}; run `make deps`, or install {name} there")
    root = spec.submodule_search_locations[0]
    for place in places:
        if os.path.isdir(os.path.join(root, place)):
            return os.path.join(root, place)
    return root


def install_dirs():
    """Where packages go below /usr, and below another prefix: Debian has a place of its own."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if any(path.endswith("/dist-packages") for path in sys.path):
        return "lib/python3/dist-packages", f"lib/{version}/dist-packages"
    return (f"lib/{version}/site-packages",) * 2


def main():
    if sys.version_info < (3, 9):
        sys.exit(f"{sys.executable}: Python {sys.version.split()[0]} is too old; choose 3.9 or "
                 "newer with PYTHON=")
    paths = sysconfig.get_paths()
    if not os.path.exists(os.path.join(paths["include"], "Python.h")):
        sys.exit(f"{sys.executable}: no Python.h in {paths['include']}; run `make deps`, or "
                 "install that interpreter's headers")
    includes = [
        # first: Debian has a link to its own NumPy among Python's headers
        package_dir("numpy", "_core/include", "core/include"),
        paths["include"],
        paths["platinclude"],
        os.path.dirname(package_dir("greenlet")),
    ]
    flags = " ".join(f"-isystem {path}" for path in dict.fromkeys(includes))
    # What newer headers would ask of an older NumPy by themselves; 1.24 is what we ask for.
    flags += " -DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"
    flags += " -DNPY_TARGET_VERSION=NPY_1_24_API_VERSION"
    print(f"EXT_SUFFIX := {sysconfig.get_config_var('EXT_SUFFIX')}")
    print(f"PYTHON_CFLAGS := {flags}")
    print("PYTHON_SYSTEM := {}\nPYTHON_LOCAL := {}".format(*install_dirs()))


main()
