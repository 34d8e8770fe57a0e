"""Builds _args_test, the argument codec apart from the runtime, and gives it to tests as `codec`.

CC and C4P_ARGS_CFLAGS (sanitizers, say) choose how; the module is rebuilt when a source is newer.
"""

import importlib.util
import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODEC = "args args_reader body_buffer buffers dtype ndarray pickler pickling reducers".split()
SOURCES = [ROOT / "python/ext" / f"{name}.c" for name in CODEC]
SOURCES.append(ROOT / "tests/python/args_test_module.c")
DEPENDENCIES = [*SOURCES, *(ROOT / "python/ext").glob("*.h"), ROOT / "proto/envelope.h"]


def build():
    """Path of the module, built unless it is newer than all that it is made of."""
    build_root = pathlib.Path(os.environ.get("C4P_BUILD", ROOT / "build"))
    flags = os.environ.get("C4P_ARGS_CFLAGS", "")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = build_root / "test" / f"_args_test{'-own' if flags else ''}{suffix}"
    newest = max(path.stat().st_mtime for path in DEPENDENCIES)
    if not flags and target.exists() and target.stat().st_mtime > newest:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    subprocess.run(
        [
            os.environ.get("CC", "gcc"),
            *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared"),
            *shlex.split(flags),
            f"-I{ROOT}",
            # in this order: Debian has a link to its own NumPy among Python's headers
            *("-isystem", numpy.get_include()),
            *("-isystem", sysconfig.get_paths()["include"]),
            *map(str, SOURCES),
            *("-o", str(unfinished)),
        ],
        check=True,
    )
    unfinished.rename(target)
    return target


def load():
    spec = importlib.util.spec_from_file_location("_args_test", build())
    module = importlib.util.module_from_spec(spec)
    sys.modules["_args_test"] = module  # pickles ask for its functions by this name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def codec():
    return load()
