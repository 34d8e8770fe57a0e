"""Decodes mutated bodies for a while: args_mutate.py MODULE SECONDS SEED.

Whatever the bytes, the codec may return objects or raise an exception; it may neither crash nor
allocate more than a small multiple of the body. Pickles are trusted by the codec (all PEs of a job
are one program), so streams other than those of the corpus are refused here, in place of pickle.
Prints how many bodies it decoded and how many of them were accepted.
"""

import array
import faulthandler
import importlib.util
import pickle
import random
import resource
import sys
import time

import numpy

known_streams = set()
true_loads = pickle.loads


def guarded_loads(stream, *, buffers=()):
    if bytes(stream) not in known_streams:
        raise pickle.UnpicklingError("not a stream of the corpus")
    return true_loads(stream, buffers=buffers)


def load(path):
    pickle.loads = guarded_loads  # before the codec looks for it
    spec = importlib.util.spec_from_file_location("_args_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["_args_test"] = module
    spec.loader.exec_module(module)
    return module


def streams(body):
    """What pickles there are in a body: each from its first opcode to any full stop behind it."""
    start = body.find(b"\x80\x05")
    if start >= 0:
        for end, byte in enumerate(body[start:], start + 1):
            if byte == ord("."):
                yield body[start:end]


def corpus(codec):
    """(body, number of arguments, keywords?) of messages that use every tag."""
    structure = numpy.dtype([("a", "f4"), ("b", "U3", (2,)), ("c", [("d", ">i2"), ("e", "S5")])])
    aligned = numpy.dtype([("x", "i1"), ("y", "f8")], align=True)
    pickled = [[1, 2], {"a": (1, 2)}, [numpy.arange(600.0)], [bytearray(10)]]
    messages = [
        ((), None),
        ((None, True, False, 1, -300, 2**40, 2**100, 1.5, 2j), None),
        (("abc", "é" * 200, "x" * 300, b"abc", b"y" * 300), None),
        (((), (1,), (1, ("a", (2.5, None)))), None),
        ((1,), {"a": 1, "long_name": "x" * 300}),
        ((bytearray(b"abc"), bytearray(300)), None),
        ((array.array("d", [1, 2]), array.array("u", "a")), None),
        ((memoryview(b"abc"), memoryview(bytes(64)).cast("d", (2, 4))), None),
        ((memoryview(bytearray(4096)).cast("i"), 1), None),
        ((codec.Box(1), (codec.Box(codec.Box("a")), 2), codec.Box([1, 2])), None),
        ((numpy.arange(5), numpy.zeros((3, 4), order="F")), None),
        ((numpy.ones(()), numpy.zeros((0, 3))), None),
        ((numpy.arange(1000.0), numpy.zeros((30, 40), "c8", order="F"), 3), None),
        ((numpy.array(["a", "bcd"]), numpy.array([b"x"]), numpy.zeros(2, "M8[25s]")), None),
        ((numpy.zeros(3, ">f8"), numpy.zeros(2, ">U2"), numpy.zeros(2, "V7")), None),
        ((numpy.zeros(3, structure), numpy.zeros(400, aligned)), None),
        (tuple(numpy.dtype(c).type(1) for c in "?bBhHiIlLqQfdgFDGe"), None),
        ((pickled[0], 1, pickled[1]), {"x": pickled[2]}),
        ((pickled[3],), {"a": 1}),
    ]
    bodies = []
    for args, keywords in messages:
        body = codec.encode(args, keywords)
        bodies.append((body, len(args), keywords is not None))
        known_streams.update(streams(body))
    for body, count, keywords in bodies:
        codec.decode(body, count, keywords, True)
    return bodies


INTERESTING = [0, 1, 2, 7, 8, 127, 128, 255, 256, 2047, 2048, 4096, 65535]
INTERESTING += [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def mutate(rng, bodies):
    body, count, keywords = rng.choice(bodies)
    body = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(body) + 1)
        if rng.random() < 0.5:
            at = min(at, rng.randrange(80))  # most of what can go wrong is at the front
        kind = rng.randrange(8)
        if kind == 0 and at < len(body):
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(body):
            body[at] = rng.choice((0, 1, 0x10, 0x11, 0x20, 0x24, 0x41, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del body[at:]
        elif kind == 3:
            size = rng.randrange(1, 9)
            del body[at:at + size]
        elif kind == 4:
            body[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 5:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(INTERESTING) % 256**size
            body[at:at + size] = number.to_bytes(size, "little")
        elif kind == 6:
            other = rng.choice(bodies)[0]
            start = rng.randrange(len(other) + 1)
            body[at:at] = other[start:start + rng.randrange(64)]
        elif kind == 7:
            count = rng.choice((0, 1, 2, count, count + 1, 300))
            keywords = rng.random() < 0.5
    return bytes(body), count, keywords


def touch(value):
    """Look at everything that a decoded object says that it has."""
    try:
        if isinstance(value, numpy.ndarray):
            value.tobytes()
            value[:1].copy()
            value.flat[:4].tolist()
            if value.size and value.flags.writeable:
                value.view()[...] = value.copy()
        elif isinstance(value, memoryview):
            value.tobytes()
            value.tolist()
        elif isinstance(value, (tuple, list)):
            for item in value:
                touch(item)
        elif isinstance(value, dict):
            touch(list(value.items()))
        elif type(value).__name__ == "Box":
            touch(value.content)
        else:
            repr(value)
    except Exception:  # such as code points beyond Unicode, or years beyond datetime
        pass


def main():
    path, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    faulthandler.enable()
    codec = load(path)
    bodies = corpus(codec)
    rng = random.Random(seed)
    if not any("asan" in line for line in open("/proc/self/maps")):
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
    decoded = accepted = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            body, count, keywords = mutate(rng, bodies)
            decoded += 1
            try:
                values = codec.decode(body, count, keywords, rng.random() < 0.5)
            except MemoryError:
                sys.exit(f"asks for memory that the body does not hold: {body.hex()}")
            except Exception:
                continue
            accepted += 1
            touch(values)
            del values
    if codec.live_blocks():
        sys.exit(f"{codec.live_blocks()} blocks were not given back")
    print(decoded, accepted)


main()
