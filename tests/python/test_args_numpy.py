"""NumPy arrays and scalars through the argument codec.

The oracle is NumPy itself: same type, dtype, shape and items, byte for byte where items have bytes.
"""

import copyreg
import pickle
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest_plugins = ["args_build"]

IN_PLACE = 2048


def u64(*numbers):
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def sent(codec, value, in_place=True):
    ((result,), _) = codec.roundtrip((value,), None, in_place)
    return result


def is_pickled(codec, value):
    return codec.encode((value,))[0] == 0x10


def assert_same(arrived, value):
    assert type(arrived) is type(value)
    assert arrived.dtype == value.dtype and arrived.dtype.str == value.dtype.str
    assert arrived.dtype.names == value.dtype.names
    assert arrived.dtype.fields == value.dtype.fields
    assert arrived.dtype.isalignedstruct == value.dtype.isalignedstruct
    assert arrived.shape == value.shape
    assert arrived.flags.writeable
    assert not np.may_share_memory(arrived, value)
    if value.dtype.hasobject:
        assert arrived.tolist() == value.tolist()
    elif value.dtype.names is None:
        assert arrived.tobytes() == value.tobytes()
    else:  # the gaps between fields need not be the same
        for name in value.dtype.names:
            assert arrived[name].tobytes() == value[name].tobytes()


DTYPES = (
    list("?bBhHiIlLqQefdgFDG")
    + [">i2", ">u8", ">f4", ">f2", ">c16", ">g"]
    + ["S1", "S5", "U1", "U7", ">U3", "V1", "V7"]
    + ["M8", "m8", "M8[D]", "M8[25s]", "m8[ns]", ">M8[us]", ">m8[h]", "M8[Y]", "m8[W]"]
    + [
        [("a", "f4"), ("b", "i8")],
        [("a", "i1"), ("b", ">U3", (2, 2)), ("c", [("d", "M8[ms]"), ("e", "c8")])],
        [(("title of a", "a"), "f8"), (("title of b", "b"), "S3")],
        {"names": ["x", "y"], "formats": ["u1", "f8"], "offsets": [3, 16], "itemsize": 40},
        {"names": ["low", "all"], "formats": ["u2", "u4"], "offsets": [0, 0]},
        {"names": ["second", "first"], "formats": ["f8", "f8"], "offsets": [8, 0]},
    ]
)
ALIGNED = np.dtype([("a", "i1"), ("b", "f8"), ("c", [("d", "u2"), ("e", "g")])], align=True)
DTYPES = [np.dtype(dtype) for dtype in DTYPES] + [ALIGNED]


def filled(dtype, shape):
    """An array whose items are all different, as far as their bytes allow."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    numbers = np.arange(size, dtype="u4")
    values = (numbers * 2654435761 >> 13).astype("u1")
    if dtype.kind == "b":
        values &= 1
    if dtype.kind == "U":
        values[np.arange(size) % 4 != (3 if dtype.byteorder == ">" else 0)] = 0
    return values.view(dtype).reshape(shape) if size else np.zeros(shape, dtype)


LAYOUTS = {
    "C order": lambda a: a.copy("C"),
    "Fortran order": lambda a: a.copy("F"),
    "transposed": lambda a: a.T,
    "every other": lambda a: a[..., ::2],
    "every third row": lambda a: a[::3],
    "backwards": lambda a: a[::-1, ..., ::-1],
    "inner block": lambda a: a[1:-1, 1:-1],
    "inner block of a Fortran array": lambda a: a.copy("F")[1:-1, 1:-1],
    "axes swapped": lambda a: np.moveaxis(a, 0, 1),
    "a column": lambda a: a[:, 1],
    "broadcast": lambda a: np.broadcast_to(a[0, 0], (5,) + a.shape[2:]),
    "broadcast inside": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "a new axis": lambda a: a[:, None, ::-1],
    "one item": lambda a: a[1, 1, 1, ...],
    "read-only": lambda a: read_only(a),
    "without rows": lambda a: a[:0],
    "without columns": lambda a: a[:, :0],
}


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[:40])
def test_an_array_of_any_dtype_and_layout_arrives_equal(codec, dtype, layout, in_place):
    for shape in ((4, 5, 6), (20, 30, 11)):
        value = LAYOUTS[layout](filled(dtype, shape))
        assert not is_pickled(codec, value)
        assert_same(sent(codec, value, in_place), value)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (1, 1, 1), (2,) * 32])
@pytest.mark.parametrize("dtype", ["f8", "?", ">i4", "U2", [("a", "f4")]])
def test_an_array_of_any_shape_arrives_equal(codec, dtype, shape):
    if shape == (2,) * 32:
        value = np.broadcast_to(filled(dtype, ()), (1,) * 32)
    else:
        value = filled(dtype, shape)
    assert not is_pickled(codec, value)
    assert_same(sent(codec, value), value)


def test_contiguous_arrays_keep_their_order(codec):
    for value in (filled("f8", (30, 40)), filled("f8", (30, 40)).T, filled(">i2", (9, 8, 7)).T):
        arrived = sent(codec, value)
        assert arrived.strides == value.strides
        assert arrived.flags.f_contiguous == value.flags.f_contiguous


def test_large_arrays_are_in_place_and_give_their_block_back(codec):
    before = codec.live_blocks()
    value = np.arange(1000.0)
    arrived = sent(codec, value)
    assert codec.live_blocks() == before + 1
    assert not arrived.flags.owndata and arrived.flags.aligned
    assert arrived.ctypes.data % 64 == 0
    arrived += 1
    part = arrived[::10]
    del arrived
    assert part[1] == 11 and codec.live_blocks() == before + 1
    del part
    assert codec.live_blocks() == before


def test_several_large_arrays_of_one_message_share_its_block(codec):
    before = codec.live_blocks()
    args = (np.ones(300), "x" * 1001, np.ones((50, 60), "f4").T)
    (a, text, b), _ = codec.roundtrip(args, None, True)
    assert codec.live_blocks() == before + 1
    assert a.ctypes.data % 64 == b.ctypes.data % 64 == 0
    assert (a == 1).all() and (b == 1).all() and text == "x" * 1001
    del a
    assert codec.live_blocks() == before + 1
    del b
    assert codec.live_blocks() == before


def test_small_arrays_and_all_of_a_body_without_a_pin_are_copied_out(codec):
    before = codec.live_blocks()
    small = sent(codec, np.ones(IN_PLACE // 8 - 1))
    large = sent(codec, np.ones(IN_PLACE), in_place=False)
    assert codec.live_blocks() == before
    assert small.flags.owndata and large.flags.owndata


def test_the_same_array_twice_arrives_as_two(codec):
    value = np.arange(10)
    (a, b), _ = codec.roundtrip((value, value))
    a[0] = 5
    assert b[0] == 0 == value[0]


GOLDEN = [
    (np.array([1, -2], "h"), b"\x23\x00\x01h" + u64(2) + b"\x01\x00\xfe\xff"),
    (np.array(7, "B"), b"\x23\x00\x00B\x07"),
    (np.array([[1, 2], [3, 4]], "B"), b"\x23\x00\x02B" + u64(2, 2) + b"\1\2\3\4"),
    (np.array([[1, 2], [3, 4]], "B", order="F"), b"\x23\x01\x02B" + u64(2, 2) + b"\1\3\2\4"),
    (np.array([[1, 2], [3, 4]], "B")[:, ::-1], b"\x23\x00\x02B" + u64(2, 2) + b"\2\1\4\3"),
    (np.zeros((0, 3), "f8"), b"\x23\x00\x02d" + u64(0, 3)),
    (
        np.array([1], ">i2"),
        b"\x24\x00\x01\x00\x05\x00\x0a\x03>i2" + u64(1) + b"\x00\x01",
    ),
    (np.array([b"ab"]), b"\x24\x00\x01\x00\x05\x00\x0a\x03|S2" + u64(1) + b"ab"),
    (np.array(["a"]), b"\x24\x00\x01\x00\x05\x00\x0a\x03<U1" + u64(1) + b"a\0\0\0"),
    (
        np.array([3], "M8[2s]"),
        b"\x24\x00\x01\x00\x09\x00\x0a\x07<M8[2s]" + u64(1) + u64(3),
    ),
    (
        np.array([(1, [2, 3])], [("x", "u1"), (("title", "y"), "u1", (2,))]),
        b"\x24\x00\x01\x00\x36\x00"
        + b"\x0e\x06\x00"
        + b"\x0e\x02\x00\x0a\x01x\x0a\x01y"
        + b"\x0e\x02\x00\x0a\x03|u1\x0e\x02\x00\x0a\x03|u1\x0e\x01\x00\x04\x02"
        + b"\x0e\x02\x00\x04\x00\x04\x01"
        + b"\x0e\x02\x00\x01\x0a\x05title"
        + b"\x04\x03\x02"
        + u64(1)
        + b"\1\2\3",
    ),
    (np.int16(-2), b"\x25h\xfe\xff"),
    (np.bool_(True), b"\x25?\x01"),
    (np.float32(1.0), b"\x25f" + struct.pack("<f", 1.0)),
]


@pytest.mark.parametrize("value, body", GOLDEN, ids=lambda value: repr(value)[:40])
def test_the_bytes_of_an_array_are_those_of_the_specification(codec, value, body):
    assert codec.encode((value,)) == body
    ((arrived,), _) = codec.decode(body, 1)
    assert type(arrived) is type(value) and arrived.dtype == value.dtype
    assert arrived.tobytes() == value.tobytes()


def test_a_large_array_starts_at_the_next_aligned_place(codec):
    value = np.arange(IN_PLACE, dtype="u1")
    for before in range(0, 70, 3):
        body = codec.encode((b"x" * before, value, 1))
        start = 2 + before + 4 + 8
        end = start + -(96 + start) % 64
        assert body[start:end] == bytes(end - start)
        assert body[end:] == value.tobytes() + b"\x04\x01"


class Matrix(np.ndarray):
    pass


PICKLED = {
    "objects": np.array([1, "a", [2]], dtype=object),
    "objects in a structure": np.array([(1, [2])], [("a", "f8"), ("b", "O")]),
    "a subclass": np.arange(6.0).reshape(2, 3).view(Matrix),
    "a matrix": np.asmatrix("1 2; 3 4"),
    "records": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked": np.ma.masked_array([1, 2, 3], [0, 1, 0]),
    "a character array": np.char.array(["ab", "c"]),
    "items of no size": np.zeros(3, "V0"),
    "a structure without fields": np.zeros(3, []),
}


@pytest.mark.parametrize("name", PICKLED)
def test_what_an_array_is_beyond_its_bytes_goes_by_pickle(codec, name):
    value = PICKLED[name]
    assert is_pickled(codec, value)
    arrived = sent(codec, value)
    assert type(arrived) is type(value)
    assert arrived.dtype == value.dtype and arrived.shape == value.shape
    if isinstance(value, np.ma.MaskedArray):
        assert (arrived.mask == value.mask).all()
    assert arrived.tolist() == value.tolist()


def test_the_metadata_of_a_dtype_arrive(codec):
    for dtype in (np.dtype("f8", metadata={"unit": "m"}), np.dtype("S3", metadata={"a": 1})):
        value = np.zeros(3, dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrived = sent(codec, value)
        assert arrived.dtype == dtype and arrived.dtype.metadata == dtype.metadata
    inner = np.dtype([("x", np.dtype("i4", metadata={"unit": "s"}))])
    assert sent(codec, np.zeros(2, inner)).dtype["x"].metadata == {"unit": "s"}


def test_a_dtype_with_a_scalar_type_of_its_own_keeps_it(codec):
    dtype = np.dtype((np.record, [("a", "f4")]))
    value = np.zeros(3, dtype)
    arrived = sent(codec, value)
    assert arrived.dtype.type is np.record and type(arrived) is np.ndarray


def test_a_plain_dtype_that_was_unpickled_is_still_plain(codec):
    value = pickle.loads(pickle.dumps(np.arange(3)))
    assert codec.encode((value,))[0] == 0x23
    assert_same(sent(codec, value), value)


def test_renaming_the_fields_of_one_array_leaves_the_others_alone(codec):
    dtype = np.dtype([("a", "f4"), ("b", "i4")])
    value = np.zeros(3, dtype)
    first, second = sent(codec, value), sent(codec, value)
    first.dtype.names = ("x", "y")
    assert second.dtype.names == ("a", "b")
    assert sent(codec, value).dtype.names == ("a", "b")
    value.dtype.names = ("m", "n")
    assert sent(codec, value).dtype.names == ("m", "n")
    assert sent(codec, np.zeros(3, [("a", "f4"), ("b", "i4")])).dtype.names == ("a", "b")


def test_renaming_the_fields_of_an_inner_structure_is_noticed(codec):
    value = np.zeros(3, [("a", [("b", "f4")], (2,)), ("c", "i4")])
    other = sent(codec, value)
    other.dtype["a"].base.names = ("x",)
    assert sent(codec, value).dtype["a"].base.names == ("b",)
    value.dtype["a"].base.names = ("y",)
    assert sent(codec, value).dtype["a"].base.names == ("y",)


def test_a_deep_and_a_wide_dtype_arrive(codec):
    dtype = np.dtype("f4")
    for depth in range(25):
        dtype = np.dtype([("inner", dtype), ("depth", "i2")])
    assert_same(sent(codec, np.zeros(3, dtype)), np.zeros(3, dtype))
    wide = np.zeros(2, [(f"a field with a long name {i}", "i2") for i in range(3000)])
    assert sent(codec, wide).dtype == wide.dtype


def test_thousands_of_dtypes_arrive(codec):
    for size in range(1, 1500):
        for value in (np.zeros(1, f"V{size}"), np.zeros(1, [(f"f{size}", "f4")])):
            assert sent(codec, value).dtype == value.dtype


@pytest.mark.parametrize("code", "?bBhHiIlLqQefdgFDG")
def test_a_plain_scalar_of_numpy_goes_without_pickle_and_keeps_its_type(codec, code):
    value = np.dtype(code).type(1)
    assert not is_pickled(codec, (value, value))
    arrived = sent(codec, value)
    assert type(arrived) is type(value) and arrived == value


@pytest.mark.parametrize(
    "value",
    [
        np.str_("abc"),
        np.bytes_(b"abc"),
        np.datetime64(5, "s"),
        np.timedelta64(5, "D"),
        np.void(b"abc"),
        np.zeros(1, [("a", "f4")])[0],
        np.dtype("f4"),
        np.float64,
        np.sum,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_other_objects_of_numpy_keep_their_type(codec, value):
    arrived = sent(codec, value)
    assert type(arrived) is type(value) and arrived == value


class Metres(np.float64):
    def __reduce__(self):
        return (Metres, (float(self),))


def test_a_subclass_of_a_numpy_scalar_keeps_its_type(codec):
    arrived = sent(codec, Metres(3.5))
    assert type(arrived) is Metres and arrived == 3.5


def test_a_nan_of_a_numpy_scalar_keeps_its_bits(codec):
    for bits in (0x7FC00001, 0xFFC00000, 0x7F800000):
        value = np.array(bits, "u4").view("f4")[()]
        assert sent(codec, value).view("u4") == bits


def test_arrays_inside_of_other_objects_arrive_writable_and_in_place(codec):
    value = {"a": [np.arange(1000.0), np.arange(3)], "b": np.zeros((40, 50), order="F")}
    before = codec.live_blocks()
    arrived = sent(codec, value)
    assert codec.live_blocks() == before + 1
    for one, other in ((arrived["a"][0], value["a"][0]), (arrived["a"][1], value["a"][1])):
        assert_same(one, other)
    assert_same(arrived["b"], value["b"])
    assert arrived["b"].flags.f_contiguous and not arrived["b"].flags.owndata
    arrived["a"][0][3] = 9
    kept = arrived["b"]
    del arrived, one, other
    assert codec.live_blocks() == before + 1
    del kept
    assert codec.live_blocks() == before


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[:40])
def test_an_array_of_any_dtype_and_layout_arrives_equal_inside_of_a_list(codec, dtype, layout):
    for shape in ((4, 5, 6), (20, 30, 11)):
        value = LAYOUTS[layout](filled(dtype, shape))
        (arrived,) = sent(codec, [value])
        assert_same(arrived, value)
        assert arrived.flags.f_contiguous or arrived.flags.c_contiguous


@pytest.mark.parametrize("name", PICKLED)
def test_what_an_array_is_beyond_its_bytes_arrives_inside_of_a_list(codec, name):
    value = PICKLED[name]
    (arrived,) = sent(codec, [value])
    assert type(arrived) is type(value) and arrived.dtype == value.dtype
    assert arrived.tolist() == value.tolist()


def test_an_array_beside_a_lambda_goes_out_of_band_too(codec):
    before = codec.live_blocks()
    value = read_only(np.arange(1000.0))
    function, array = sent(codec, [lambda x: x + 1, value])
    assert codec.live_blocks() == before + 1
    assert function(1) == 2
    assert_same(array, value)


def test_references_to_one_array_in_one_pickle_stay_shared(codec):
    value = np.arange(5)
    one, other = sent(codec, [value, value])
    assert one is other


def test_a_reducer_of_the_users_own_for_a_class_is_heard(codec):
    copyreg.pickle(Metres, lambda value: (Metres, (float(value) * 2,)))
    try:
        assert sent(codec, [Metres(2)])[0] == 4
    finally:
        del copyreg.dispatch_table[Metres]
    assert sent(codec, [Metres(2)])[0] == 2


def test_arrays_inside_of_other_objects_arrive_under_old_pickle_protocols_too(codec):
    value = {"a": np.arange(1000.0), "b": np.arange(5).astype(">i4")}
    try:
        for protocol in (2, 3, 4):
            codec.set_protocol(protocol)
            arrived = sent(codec, value)
            assert_same(arrived["a"], value["a"])
            assert_same(arrived["b"], value["b"])
    finally:
        codec.set_protocol(-1)


def test_an_array_in_a_list_and_by_itself_arrives_equal_in_both(codec):
    value = filled("f8", (9, 9))[::2, ::3]
    args, named = codec.roundtrip((value, [value], (value, 1)), {"v": value})
    direct, (listed,), (paired, _) = args
    for arrived in (direct, listed, paired, named["v"]):
        assert_same(arrived, value)


class Resizes:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        self.target()
        return (int, ())


def test_an_array_that_changes_while_others_are_pickled_does_no_harm(codec):
    value = np.arange(100000.0)
    args, _ = codec.roundtrip((value, Resizes(lambda: value.resize(10, refcheck=False))))
    assert args[0].shape == (100000,)
    value = np.arange(100000.0)
    args, _ = codec.roundtrip((value, Resizes(lambda: value.resize(10**6, refcheck=False))))
    assert args[0].shape == (100000,)
    value = np.arange(100000.0)
    args, _ = codec.roundtrip((value, Resizes(lambda: setattr(value, "shape", (10, 10000)))))
    assert (args[0] == np.arange(100000.0)).all()


def body(flags, ndim, code, shape, data=b"", description=None):
    head = bytes((0x24 if description is not None else 0x23, flags, ndim, code))
    if description is not None:
        head += struct.pack("<H", len(description)) + description
    return head + u64(*shape) + data


def text(string):
    return b"\x0a" + bytes((len(string),)) + string.encode()


MALFORMED = {
    "no such code": body(0, 1, 0x7F, (1,), b"x"),
    "code of objects": body(0, 1, ord("O"), (1,), bytes(8)),
    "a code beyond ASCII": body(0, 1, 0xFF, (1,), bytes(8)),
    "no such flag": body(2, 1, ord("B"), (1,), b"x"),
    "too many dimensions": body(0, 65, ord("B"), (1,) * 65, b"x"),
    "more dimensions than NumPy 1 has": body(0, 64, ord("B"), (2**60,) + (1,) * 63, b"x"),
    "a shape that overflows": body(0, 2, ord("d"), (2**62, 4)),
    "a shape that overflows to nothing": body(0, 4, ord("B"), (2**32, 2**32, 1, 1)),
    "a negative extent": body(0, 1, ord("B"), (2**64 - 1,), b"x"),
    "an empty shape that overflows": body(0, 3, ord("d"), (0, 2**62, 2**62)),
    "more items than data": body(0, 1, ord("d"), (2,), bytes(15)),
    "a body cut in the padding": body(0, 1, ord("B"), (4096,)),
    "no such dtype": body(0, 1, 0, (1,), b"x", text("nonsense")),
    "objects": body(0, 1, 0, (1,), bytes(8), text("O")),
    "objects in a structure": body(
        0, 1, 0, (1,), bytes(8), b"\x0e\x06\0\x0e\x01\0" + text("a") + b"\x0e\x01\0" + text("O")
        + b"\x0e\x01\0\x04\0" + b"\x0e\x01\0\x01" + b"\x04\x08\x02",
    ),
    "a code with a description": body(0, 1, 66, (1,), b"x", text("u1")),
    "an empty description": body(0, 1, 0, (1,), b"x", b""),
    "a description of a number": body(0, 1, 0, (1,), b"x", b"\x04\x01"),
    "a description of a short tuple": body(0, 1, 0, (1,), b"x", b"\x0e\x01\x00\x04\x01"),
    "a subarray": body(0, 1, 0, (1,), b"xx", b"\x0e\x02\0" + text("u1") + b"\x0e\x01\0\x04\x02"),
    "items of no size": body(0, 1, 0, (1,), b"", text("|V0")),
    "huge items of which there are none": body(0, 1, 0, (0,), b"", text("|V2000000000")),
    "a field beyond its structure": body(
        0, 1, 0, (1,), bytes(8), b"\x0e\x06\0\x0e\x01\0" + text("a") + b"\x0e\x01\0" + text("f8")
        + b"\x0e\x01\0\x04\x08" + b"\x0e\x01\0\x01" + b"\x04\x08\x02",
    ),
    "a field before its structure": body(
        0, 1, 0, (1,), bytes(8), b"\x0e\x06\0\x0e\x01\0" + text("a") + b"\x0e\x01\0" + text("f8")
        + b"\x0e\x01\0\x04\xf8" + b"\x0e\x01\0\x01" + b"\x04\x08\x02",
    ),
    "a scalar of no type": b"\x25O" + bytes(8),
    "a scalar cut short": b"\x25d" + bytes(7),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_array_is_refused(codec, name):
    with pytest.raises(ValueError):
        codec.decode(MALFORMED[name], 1)
    with pytest.raises(ValueError):
        codec.decode(MALFORMED[name], 1, False, True)


def test_every_truncation_of_an_array_is_refused(codec):
    for value in (filled("f4", (3, 4)), filled([("a", "f4"), ("b", "U2")], 5), np.float64(3)):
        whole = codec.encode((value,))
        for size in range(len(whole)):
            with pytest.raises(ValueError):
                codec.decode(whole[:size], 1)


field_names = st.text("abcdefgh_ é", min_size=1, max_size=5)
plain_dtypes = (
    hnp.scalar_dtypes()
    | hnp.byte_string_dtypes(min_len=1, max_len=9)
    | hnp.unicode_string_dtypes(min_len=1, max_len=9)
    | hnp.complex_number_dtypes(sizes=(64, 128))
    | st.sampled_from("gG").map(np.dtype)
    | st.integers(1, 20).map(lambda size: np.dtype(f"V{size}"))
)
structures = hnp.array_dtypes(plain_dtypes, allow_subarrays=True, max_size=4).filter(
    lambda dtype: dtype.names and dtype.itemsize
)
nested_structures = hnp.nested_dtypes(plain_dtypes, max_leaves=6, max_itemsize=400).filter(
    lambda dtype: dtype.subdtype is None and dtype.itemsize
)
dtypes = plain_dtypes | structures | nested_structures


def is_text(dtype):
    """Does it hold characters, for which not every number will do?"""
    if dtype.subdtype:
        return is_text(dtype.base)
    if dtype.names:
        return any(is_text(dtype[name]) for name in dtype.names)
    return dtype.kind == "U"


@st.composite
def arrays(draw):
    """Any dtype, shape and way to lie in memory."""
    dtype = draw(dtypes)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.zeros(shape, dtype)
    if size and not is_text(dtype):
        data = np.random.RandomState(draw(st.integers(0, 2**32 - 1))).bytes(size)
        array = np.frombuffer(bytearray(data), dtype).reshape(shape)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            array = array.transpose(draw(st.permutations(range(array.ndim))))
        elif kind == 1:
            array = array[draw(hnp.basic_indices(array.shape, allow_newaxis=True, max_dims=6))]
            array = np.asarray(array, dtype)
        elif kind == 2:
            array = array.copy(order=draw(st.sampled_from("CFK")))
        elif kind == 3:
            array = np.broadcast_to(array, (draw(st.integers(0, 4)),) + array.shape)
        elif kind == 4 and array.ndim:
            array = np.flip(array, draw(st.integers(0, array.ndim - 1)))
        elif kind == 5 and array.ndim:
            array = array[tuple(slice(None, None, draw(st.integers(1, 3))) for _ in array.shape)]
    return array


@settings(max_examples=400, deadline=None)
@given(value=arrays(), in_place=st.booleans(), before=st.binary(max_size=70))
def test_any_array_arrives_equal(codec, value, in_place, before):
    assert not is_pickled(codec, value)
    (_, arrived), _ = codec.roundtrip((before, value), None, in_place)
    assert_same(arrived, value)


@settings(deadline=None)
@given(values=st.lists(arrays() | st.integers() | st.text(max_size=9), max_size=5))
def test_arrays_arrive_equal_beside_and_inside_of_anything(codec, values):
    (*arrived, listed), named = codec.roundtrip((*values, values), {"a": tuple(values)}, True)
    for got in (arrived, listed, named["a"]):
        assert len(got) == len(values)
        for one, value in zip(got, values):
            if isinstance(value, np.ndarray):
                assert_same(one, value)
            else:
                assert one == value
