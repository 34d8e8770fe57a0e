"""The argument codec by itself: scalars, strings, tuples, buffers, pickles, malformed bodies.

NumPy arrays are in test_args_numpy.py.
"""

import array
import collections
import enum
import gc
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest_plugins = ["args_build"]

IN_PLACE = 2048


def u64(number):
    return struct.pack("<Q", number)


def same(one, other):
    """Equal, and of the same types all the way down; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, complex):
        return same((one.real, one.imag), (other.real, other.imag))
    return one == other


def send(codec, *args, **options):
    return codec.roundtrip(args, options.pop("keywords", None), options.pop("in_place", False))[0]


def sent(codec, value, **options):
    """What becomes of one argument."""
    (result,) = send(codec, value, **options)
    return result


def is_pickled(codec, value):
    return codec.encode((value,))[0] == 0x10


SCALARS = [
    None,
    True,
    False,
    0,
    -1,
    127,
    -128,
    128,
    -129,
    2**31 - 1,
    -(2**31),
    2**31,
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**63) - 1,
    2**64,
    10**1000,
    -(10**1000),
    0.0,
    -0.0,
    1.5,
    float("inf"),
    float("nan"),
    5e-324,
    1j,
    complex(float("nan"), -0.0),
    "",
    "a",
    "chare" * 20,
    "x" * 255,
    "x" * 256,
    "x" * 100000,
    "é",
    "日本語 🐍",
    "\0",
    "lone \ud800 surrogate",
    "é" * 100000,
    b"",
    b"\0\xff",
    b"x" * 255,
    b"x" * 256,
    b"x" * 100000,
]


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: repr(value)[:20])
def test_a_scalar_arrives_as_it_was_and_without_pickle(codec, value):
    assert not is_pickled(codec, value)
    assert same(sent(codec, value), value)
    assert same(sent(codec, (value, (value,))), (value, (value,)))


def test_scalars_of_one_message_keep_their_order(codec):
    assert same(send(codec, *SCALARS), tuple(SCALARS))


GOLDEN = [
    ((), b""),
    ((None,), b"\x01"),
    ((False, True), b"\x02\x03"),
    ((5, -5), b"\x04\x05\x04\xfb"),
    ((300,), b"\x05\x2c\x01\x00\x00"),
    ((2**40,), b"\x06\x00\x00\x00\x00\x00\x01\x00\x00"),
    ((2**64,), b"\x07\x09\x00\x00\x00" + b"\0" * 8 + b"\x01"),
    ((-(2**63) - 1,), b"\x07\x09\x00\x00\x00" + b"\xff" * 7 + b"\x7f\xff"),
    ((1.0,), b"\x08" + struct.pack("<d", 1.0)),
    ((1 - 2j,), b"\x09" + struct.pack("<dd", 1.0, -2.0)),
    (("é",), b"\x0a\x02\xc3\xa9"),
    (("\ud800",), b"\x0a\x03\xed\xa0\x80"),
    (("x" * 256,), b"\x0b" + u64(256) + b"x" * 256),
    ((b"ab",), b"\x0c\x02ab"),
    ((b"x" * 256,), b"\x0d" + u64(256) + b"x" * 256),
    (((),), b"\x0e\x00\x00"),
    (((1, ("a",)),), b"\x0e\x02\x00\x04\x01\x0e\x01\x00\x0a\x01a"),
    ((bytearray(b"ab"),), b"\x20" + u64(2) + b"ab"),
    ((array.array("h", [1, -1]),), b"\x21h\x02" + u64(4) + b"\x01\x00\xff\xff"),
    (
        (memoryview(b"abcd").cast("h"),),
        b"\x22\x01\x01\x01" + u64(2) + u64(2) + b"h" + u64(4) + b"abcd",
    ),
]


@pytest.mark.parametrize("args, body", GOLDEN, ids=lambda value: repr(value)[:30])
def test_the_bytes_of_a_body_are_those_of_the_specification(codec, args, body):
    assert codec.encode(args) == body
    assert same(codec.decode(body, len(args))[0], args) or isinstance(args[0], memoryview)


def test_the_bytes_of_keywords_are_those_of_the_specification(codec):
    body = b"\x04\x01" + b"\x0f\x02\x00\x00\x00" + b"\x0a\x01a\x04\x02" + b"\x0a\x01b\x01"
    assert codec.encode((1,), {"a": 2, "b": None}) == body
    assert codec.decode(body, 1, True) == ((1,), {"a": 2, "b": None})


def test_the_bytes_of_a_pickle_are_those_of_the_specification(codec):
    stream = pickle.dumps([1], 5)
    body = b"\x10\x04\x07" + u64(len(stream)) + b"\0" * 4 + stream
    assert codec.encode(([1], 7)) == body
    stream = pickle.dumps(([1], {}), 5)
    assert codec.encode(([1], {})) == b"\x10\x10" + u64(len(stream)) + b"\0" * 4 + stream


def test_a_large_buffer_of_a_pickle_starts_at_the_next_aligned_place(codec):
    data = bytearray(range(256)) * 16
    body = codec.encode((pickle.PickleBuffer(data), None))
    size, count = struct.unpack_from("<QI", body, 2)
    assert body[:2] == b"\x10\x01" and count == 1
    assert struct.unpack_from("<Q", body, 14)[0] == len(data)
    start = 22 + size
    start += -(96 + start) % 64
    assert body[start:] == data


def test_keywords_arrive_in_order_with_their_values(codec):
    keywords = {"b": 1, "a": "x", "é": (1.5, None), "data": bytearray(b"12")}
    assert codec.encode((), keywords)[0] == 0x0F
    args, arrived = codec.roundtrip((1,), keywords)
    assert args == (1,)
    assert same(arrived, keywords)


def test_keywords_with_a_pickled_value_arrive_in_order(codec):
    keywords = {"b": [1], "a": "x", "c": {1: 2}}
    args, arrived = codec.roundtrip(([2], 3), keywords)
    assert same(args, ([2], 3))
    assert same(arrived, keywords)


def test_no_keywords_arrive_as_an_empty_dict(codec):
    assert codec.roundtrip((), {}) == ((), {})


class Number(int):
    pass


class Text(str):
    pass


class Pair(tuple):
    pass


class Bytes(bytes):
    pass


class Colour(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "value",
    [Number(3), Text("a"), Pair((1, 2)), Bytes(b"a"), Colour.RED, Point(1, 2), (1, Number(2))],
    ids=repr,
)
def test_a_subclass_of_a_builtin_keeps_its_type(codec, value):
    arrived = sent(codec, value)
    assert type(arrived) is type(value) and arrived == value
    if type(value) is tuple:
        assert type(arrived[1]) is Number


@pytest.mark.parametrize(
    "value",
    [[1, [2]], {"a": {1: 2}}, {1, 2}, frozenset((1,)), range(3), ..., NotImplemented, [..., ()]],
    ids=repr,
)
def test_what_has_no_encoding_of_its_own_is_pickled(codec, value):
    assert is_pickled(codec, value)
    arrived = sent(codec, value)
    assert type(arrived) is type(value) and arrived == value


def test_a_tuple_with_anything_pickled_is_pickled_whole(codec):
    shared = [1]
    arrived = sent(codec, (shared, (shared, 2)))
    assert arrived == ([1], ([1], 2))
    assert arrived[0] is arrived[1][0]


def test_arguments_that_are_pickled_keep_the_references_they_share(codec):
    shared = {"a": 1}
    args, keywords = codec.roundtrip((shared, 5, [shared]), {"other": shared, "n": 1})
    assert args == ({"a": 1}, 5, [{"a": 1}])
    assert args[0] is args[2][0] is keywords["other"]


def test_received_objects_are_private(codec):
    value = [1, 2]
    assert sent(codec, value) is not value
    data = bytearray(b"12")
    assert sent(codec, data) is not data


def test_a_deep_tuple_arrives(codec):
    for depth in (1, 30, 31, 32, 33, 34, 500):
        value = ()
        for _ in range(depth):
            value = (value, depth)
        assert sent(codec, value) == value
        assert is_pickled(codec, value) == (depth > 31)


def test_a_long_tuple_arrives(codec):
    for length in (255, 256, 4096, 4097, 100000):
        value = tuple(range(length))
        assert sent(codec, value) == value
        assert sent(codec, (value, value)) == (value, value)


def test_a_tuple_of_much_shared_structure_takes_little_room(codec):
    value = (1,)
    for _ in range(30):
        value = (value, value)
    assert len(codec.encode((value,))) < 1000
    text = "x" * 100000
    assert len(codec.encode(((text,) * 1000,))) < 200000
    text = "é" * 100000
    assert len(codec.encode(((text,) * 1000,))) < 400000


def test_large_strings_in_a_tuple_go_without_pickle(codec):
    value = ("x" * 100000, b"y" * 100000, ("z" * 300, 1))
    assert not is_pickled(codec, value)
    assert sent(codec, value) == value


def test_an_object_of_the_runtime_goes_by_its_hook_alone_and_in_tuples(codec):
    for content in (1, "a", (1, 2), [1, 2], bytearray(b"a"), lambda: 5):
        box = sent(codec, codec.Box(content))
        assert type(box) is codec.Box and not box.pickled
        assert type(box.content) is type(content)
        _, (nested, _) = sent(codec, (1, (codec.Box(content), "x")))
        assert type(nested.content) is type(content) and not nested.pickled
    assert not is_pickled(codec, (codec.Box([1]), codec.Box(2)))


def test_an_object_of_the_runtime_inside_a_pickle_pickles_itself(codec):
    (box,) = sent(codec, [codec.Box(3)])
    assert box.pickled and box.content == 3


def test_deeply_nested_objects_of_the_runtime_arrive(codec):
    box = 7
    for _ in range(100):
        box = codec.Box(box)
    box = sent(codec, box)
    for _ in range(100):
        box = box.content
    assert box == 7


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("size", [0, 1, 255, 256, IN_PLACE - 1, IN_PLACE, 100000])
def test_a_bytearray_arrives_as_a_bytearray_of_its_own(codec, size, in_place):
    value = bytearray(os.urandom(size))
    arrived = sent(codec, value, in_place=in_place)
    assert type(arrived) is bytearray and arrived == value
    arrived.append(1)
    value.append(2)


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
@pytest.mark.parametrize("length", [0, 1, 1000])
def test_an_array_arrives_as_an_array_of_the_same_type(codec, code, length):
    value = array.array(code, range(length if code not in "bB" else min(length, 100)))
    assert not is_pickled(codec, value)
    arrived = sent(codec, value)
    assert type(arrived) is array.array
    assert arrived.typecode == code and arrived == value
    arrived.append(1)
    value.append(2)


def test_an_array_of_unicode_characters_arrives(codec):
    value = array.array("u", "abc🐍")
    assert sent(codec, value) == value


class Samples(array.array):
    pass


class Buffer(bytearray):
    pass


def test_a_subclass_of_a_buffer_keeps_its_type_and_attributes(codec):
    value = Samples("d", [1, 2])
    value.rate = 44100
    arrived = sent(codec, value)
    assert type(arrived) is Samples and arrived == value and arrived.rate == 44100
    assert type(sent(codec, Buffer(b"abc"))) is Buffer


VIEWS = {
    "bytes": memoryview(b"abc"),
    "empty": memoryview(b""),
    "writable": memoryview(bytearray(b"abc")),
    "every other": memoryview(b"abcdef")[::2],
    "backwards": memoryview(b"abcdef")[::-1],
    "doubles": memoryview(array.array("d", [1, 2, 3])),
    "strided doubles": memoryview(array.array("d", range(1000)))[3:900:7],
    "two dimensions": memoryview(bytes(range(24))).cast("h", (3, 4)),
    "no dimension": memoryview(struct.pack("d", 1.5)).cast("d", ()),
    "large": memoryview(bytes(range(256)) * 100).cast("I"),
    "large of three dimensions": memoryview(bytes(4096)).cast("B", (16, 16, 16)),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_a_memoryview_arrives_with_its_content_format_and_shape(codec, name, in_place):
    value = VIEWS[name]
    assert not is_pickled(codec, value)
    arrived = sent(codec, value, in_place=in_place)
    assert type(arrived) is memoryview
    assert arrived == value and arrived.tobytes() == value.tobytes()
    assert (arrived.format, arrived.shape) == (value.format, value.shape)
    assert arrived.readonly == value.readonly
    assert arrived.c_contiguous
    assert arrived.tolist() == value.tolist()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_a_memoryview_inside_of_a_list_arrives_as_by_itself(codec, name, in_place):
    value = VIEWS[name]
    (arrived,) = sent(codec, [value], in_place=in_place)
    assert type(arrived) is memoryview
    assert arrived == value and arrived.tolist() == value.tolist()
    assert (arrived.format, arrived.shape) == (value.format, value.shape)
    assert arrived.readonly == value.readonly


def test_a_large_memoryview_keeps_its_block_and_gives_it_back(codec):
    before = codec.live_blocks()
    arrived = sent(codec, memoryview(bytearray(IN_PLACE)), in_place=True)
    assert codec.live_blocks() == before + 1
    arrived[0] = 7
    part = arrived[::5]
    del arrived
    assert part[0] == 7 and codec.live_blocks() == before + 1
    del part
    assert codec.live_blocks() == before


def test_a_released_memoryview_is_refused(codec):
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        codec.encode((view,))
    assert send(codec, 1) == (1,)


def test_a_large_buffer_inside_a_pickle_is_in_place_and_writable(codec):
    before = codec.live_blocks()
    value = [pickle.PickleBuffer(bytearray(range(256)) * 16)]
    (arrived,) = sent(codec, value, in_place=True)
    assert codec.live_blocks() == before + 1
    assert arrived == bytearray(range(256)) * 16
    memoryview(arrived)[0] = 9
    del arrived
    assert codec.live_blocks() == before
    (arrived,) = sent(codec, value)
    assert type(arrived) is bytearray and codec.live_blocks() == before


def test_a_small_buffer_inside_a_pickle_stays_in_its_stream(codec):
    body = codec.encode(([pickle.PickleBuffer(bytearray(b"abc"))],))
    assert struct.unpack_from("<I", body, 9)[0] == 0


def test_large_strings_inside_a_pickle_arrive(codec):
    large = 1000000
    value = ["x" * large, b"y" * large, bytearray(b"z" * large), "é" * large, list(range(large))]
    assert sent(codec, value) == value
    assert sent(codec, [1]) == [1]


class Sends:
    """Sends another message while it is pickled."""

    def __init__(self, codec, value):
        self.codec, self.value = codec, value

    def __reduce__(self):
        return (list, (sent(self.codec, [self.value]),))


def test_pickling_may_pickle(codec):
    nested = Sends(codec, [1])
    assert sent(codec, [0, nested, nested]) == [0, [[1]], [[1]]]


def test_functions_and_classes_that_no_module_has_go_by_cloudpickle(codec):
    offset = 3

    class Local:
        def value(self):
            return offset

    function, instance = send(codec, lambda x: x + offset, Local())
    assert function(4) == 7
    assert instance.value() == 3


class Unpicklable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize(
    "args, keywords, text",
    [
        ((threading.Lock(),), None, "argument 1 of type '_thread.lock' cannot be sent: "),
        ((1, [2], [threading.Lock()]), None, "argument 3 of type 'list' cannot be sent: "),
        (([2], threading.Lock(), []), {"a": 1}, "argument 2 of type '_thread.lock' "),
        ((1,), {"a": [], "b": threading.Lock()}, "keyword argument 'b' of type '_thread.lock' "),
        (((1, threading.Lock()),), None, "argument 1 of type 'tuple' cannot be sent: "),
    ],
)
def test_an_unpicklable_argument_is_named_with_the_reason_and_the_remedy(
    codec, args, keywords, text
):
    with pytest.raises(TypeError) as caught:
        codec.encode(args, keywords)
    message = str(caught.value)
    assert message.startswith(text)
    assert "cannot pickle '_thread.lock' object" in message and "__reduce__" in message
    assert "\n" not in message
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "error, raised",
    [
        (TypeError("no"), TypeError),
        (AttributeError("no"), TypeError),
        (pickle.PicklingError("no"), pickle.PicklingError),
        (ValueError("no"), pickle.PicklingError),
    ],
    ids=repr,
)
def test_an_error_while_pickling_becomes_a_sentence_of_a_fitting_class(codec, error, raised):
    with pytest.raises(raised, match="argument 2 of type 'Unpicklable' cannot be sent: no;") as e:
        codec.encode((1, Unpicklable(error)))
    assert e.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError()], ids=repr)
def test_an_interruption_while_pickling_stays_what_it_is(codec, error):
    with pytest.raises(type(error)) as caught:
        codec.encode((Unpicklable(error),))
    assert caught.value is error


def test_an_object_that_nests_too_deep_is_named(codec):
    value = []
    for _ in range(100000):
        value = [value]
    with pytest.raises(pickle.PicklingError, match="argument 1 of type 'list'.*recursion"):
        codec.encode((value,))


def test_after_a_failed_encoding_the_next_message_is_whole(codec):
    for _ in range(3):
        with pytest.raises(TypeError):
            codec.encode((b"x" * 5000, [1], bytearray(500), threading.Lock()), {"a": "b" * 500})
        assert same(send(codec, b"x" * 5000, [1], "a"), (b"x" * 5000, [1], "a"))


class Resizes:
    """Tries, while it is pickled, to change the arguments that were encoded before it."""

    def __init__(self, *targets):
        self.targets = targets
        self.errors = []

    def __reduce__(self):
        for target in self.targets:
            try:
                target()
            except Exception as error:
                self.errors.append(type(error))
        return (str, ("done",))


def test_arguments_that_change_while_others_are_pickled_do_no_harm(codec):
    data, numbers = bytearray(b"x" * 5000), array.array("d", range(1000))
    view = memoryview(bytearray(b"y" * 5000))
    keywords = {"a": b"z" * 5000}
    hostile = Resizes(data.clear, lambda: numbers.pop(), view.release, keywords.clear)
    args, _ = codec.roundtrip((data, numbers, view, hostile), keywords)
    assert args[0] == b"x" * 5000 and args[1] == numbers and args[2] == b"y" * 5000
    assert args[3] == "done"
    assert hostile.errors[:2] == [BufferError, BufferError]
    data.clear()


def test_the_pickle_protocol_can_be_chosen(codec):
    value = [pickle.PickleBuffer(bytearray(5000))]
    try:
        codec.set_protocol(2)
        assert codec.encode(([1],))[13:15] == b"\x80\x02"
        with pytest.raises(pickle.PicklingError, match="argument 1"):
            codec.encode((value,))
        codec.set_protocol(-1)
        assert codec.encode(([1],))[13:15] == b"\x80\x05"
        assert sent(codec, value)[0] == bytearray(5000)
    finally:
        codec.set_protocol(-1)


def test_neither_numpy_nor_pickle_is_imported_before_it_is_needed(codec):
    program = """
import sys, importlib.util, array
spec = importlib.util.spec_from_file_location("_args_test", sys.argv[1])
codec = importlib.util.module_from_spec(spec)
spec.loader.exec_module(codec)
codec.roundtrip((1, "a", b"b", (1.5,), bytearray(3), memoryview(b"a"), array.array("d", [1])))
assert not {"numpy", "pickle", "cloudpickle"} & set(sys.modules), sorted(sys.modules)
codec.roundtrip(([1],))
assert "numpy" not in sys.modules and "cloudpickle" not in sys.modules
codec.roundtrip((lambda: 1,))
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, codec.__file__], check=True)


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.binary()
)
nested = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.tuples(inner)
    | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_messages_leave_nothing_behind(codec):
    args = (1, "a" * 300, b"b" * 300, (1, (2, "c")), bytearray(5000), array.array("d", [1]))
    args += (memoryview(bytearray(5000)), [1, 2], [memoryview(bytearray(5000))], codec.Box([3]))
    body = codec.encode(args, {"a": [1]})

    def fails(function, *arguments):
        try:
            function(*arguments)
        except (TypeError, ValueError, EOFError, pickle.UnpicklingError):
            return
        raise AssertionError("accepted")

    def held(rounds):
        for _ in range(rounds):
            codec.roundtrip(args, {"a": [1]}, True)
            fails(codec.encode, (bytearray(5000), [threading.Lock()]))
            for size in range(0, len(body), 997):
                fails(codec.decode, body[:size], len(args), True, True)
        gc.collect()
        return sys.getallocatedblocks()

    before = held(500)
    # free lists of the interpreter fill up, but not with every message
    assert held(1000) - before < 500
    assert codec.live_blocks() == 0


@settings(deadline=None)
@given(args=st.lists(nested, max_size=6), keywords=st.none() | st.dictionaries(st.text(), nested))
def test_any_python_structure_arrives_as_it_was(codec, args, keywords):
    arrived, named = codec.roundtrip(tuple(args), keywords)
    assert same(arrived, tuple(args))
    assert same(named, keywords)


MALFORMED = {
    "nothing": b"",
    "tag zero": b"\x00",
    "an unknown tag": b"\x3f",
    "an unknown tag of the runtime": b"\xff",
    "keywords as an argument": b"\x0f\x00\x00\x00\x00",
    "an int cut short": b"\x05\x00\x00",
    "a big int cut short": b"\x07\xff\xff\xff\xff\x00",
    "a float cut short": b"\x08\x00",
    "a string cut short": b"\x0a\x05abc",
    "a string of nearly 2**64 bytes": b"\x0b" + b"\xff" * 8,
    "a string that is not UTF-8": b"\x0a\x01\xff",
    "bytes of 2**63 bytes": b"\x0d" + u64(2**63),
    "a tuple of more items than bytes": b"\x0e\xff\xff\x01",
    "a tuple in a tuple in a tuple, without end": b"\x0e\x01\x00" * 1000 + b"\x01",
    "boxes without end": b"\x41" * 100000,
    "a bytearray of 2**62 bytes": b"\x20" + u64(2**62),
    "an array of no type": b"\x21!\x01" + u64(0),
    "an array with items of another size": b"\x21d\x04" + u64(4) + b"abcd",
    "an array with part of an item": b"\x21d\x08" + u64(4) + b"abcd",
    "a memoryview of 65 dimensions": b"\x22\x00\x41\x01" + bytes(1000),
    "a memoryview larger than its data": b"\x22\0\x01\x01" + u64(8) + u64(2) + b"d" + u64(8)
    + bytes(8),
    "a memoryview whose size overflows": b"\x22\0\x02\x01" + u64(8) + u64(2**62) * 2 + b"d"
    + u64(8) + bytes(8),
    "a memoryview whose items are smaller than its format": b"\x22\0\x01\x01" + u64(1) + u64(8)
    + b"d" + u64(8) + bytes(8),
    "a memoryview with items of no size": b"\x22\0\x01\x01" + u64(0) + u64(8) + b"d" + u64(0),
    "a pickle that is not there": b"\x10",
    "a pickle of 2**64 - 1 bytes": b"\x11" + b"\xff" * 8 + b"\0" * 4,
    "a pickle with 2**32 - 1 buffers": b"\x11" + u64(0) + b"\xff" * 4,
    "a pickle with a buffer of 2**63 bytes": b"\x11" + u64(0) + b"\1\0\0\0" + u64(2**63),
    "an argument too many": b"\x01\x01",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_refused(codec, name):
    with pytest.raises(ValueError):
        codec.decode(MALFORMED[name], 1)
    with pytest.raises(ValueError):
        codec.decode(b"\x01" + MALFORMED[name], 2, False, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x0f\x01\x00\x00\x00",
        b"\x0f\x01\x00\x00\x00\x04\x01\x01",
        b"\x10" + u64(len(pickle.dumps(3))) + b"\0" * 4 + pickle.dumps(3),
    ],
)
def test_malformed_keywords_are_refused(codec, body):
    with pytest.raises(ValueError):
        codec.decode(body, 0, True)


def test_a_pickle_of_another_number_of_arguments_is_refused(codec):
    stream = pickle.dumps((1, 2, 3))
    with pytest.raises(ValueError, match="another number"):
        codec.decode(b"\x10\x10" + u64(len(stream)) + b"\0" * 4 + stream, 2)


def test_what_unpickling_raises_comes_through(codec):
    stream = b"cno_such_module\nname\n."
    with pytest.raises(ModuleNotFoundError):
        codec.decode(b"\x10" + u64(len(stream)) + b"\0" * 4 + stream, 1)


def test_every_truncation_of_a_body_is_refused(codec):
    args = (1, 2**70, "abc", "x" * 300, (1, 2.5), bytearray(9), array.array("d", [1]), [1, "z"])
    body = codec.encode(args, {"k": 1, "l": b"x" * 300})
    for size in range(len(body)):
        with pytest.raises((ValueError, EOFError, pickle.UnpicklingError)):
            codec.decode(body[:size], len(args), True)


def test_mutations_of_bodies_only_ever_raise_exceptions(codec):
    """In a process of its own, which ends with what went wrong, if only with the signal."""
    seconds = os.environ.get("C4P_FUZZ_SECONDS", "2")
    seed = os.environ.get("C4P_FUZZ_SEED", str(random.SystemRandom().randrange(2**32)))
    script = pathlib.Path(__file__).with_name("args_mutate.py")
    run = subprocess.run(
        [sys.executable, str(script), codec.__file__, seconds, seed],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, (
        f"C4P_FUZZ_SEED={seed}: exit code {run.returncode}\n{run.stdout}{run.stderr}"
    )
    assert int(run.stdout.split()[0]) > 100
