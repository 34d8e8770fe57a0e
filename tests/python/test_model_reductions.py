"""Reductions: every reducer, every kind of value, every kind of target (SPEC 0.5, 2)."""

import array
import decimal
import fractions
import functools
import operator
import string

import numpy

from c4py import Array, Chare, Charm4PyError, Future, Group, Reducer, charm, coro

from model import check, start_checks

OPERATIONS = {'sum': operator.add, 'product': operator.mul, 'max': max, 'min': min}
UFUNCS = {'sum': numpy.add, 'product': numpy.multiply, 'max': numpy.maximum,
          'min': numpy.minimum, 'logical_and': numpy.logical_and,
          'logical_or': numpy.logical_or, 'logical_xor': numpy.logical_xor}
ARITHMETIC = ('sum', 'product', 'max', 'min')
LOGICAL = ('logical_and', 'logical_or', 'logical_xor')
LETTERS = string.ascii_lowercase


class Vector:
    """Something with + and * of its own."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __mul__(self, other):
        return Vector(self.x * other.x, self.y * other.y)

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)


class Contributor(Chare):
    def __init__(self):
        self.got = []

    def number(self):
        index = self.thisIndex
        return index if isinstance(index, int) else index[0]

    def reduce_values(self, target, reducer, values):
        self.reduce(target, values[self.number()], getattr(Reducer, reducer))

    def reduce_keywords(self, target, reducer, values):
        self.reduce(callback=target, reducer=getattr(Reducer, reducer),
                    data=values[self.number()])

    def contribute_values(self, target, reducer, values):
        self.contribute(values[self.number()], getattr(Reducer, reducer), target)

    def reduce_nothing(self, target, how):
        if how == 'default':
            self.reduce(target)
        elif how == 'nop':
            self.reduce(target, 'ignored', Reducer.nop)
        elif how == 'old':
            self.contribute(None, None, target)
        else:
            self.reduce(target, 5, None)

    def refused(self, reducer, value):
        try:
            self.reduce(charm.thisProxy[0].myPe, value, getattr(Reducer, reducer))
        except TypeError as error:
            return str(error)

    def bad_callback(self, callback):
        try:
            self.reduce(callback, 1, Reducer.sum)
        except (AssertionError, TypeError) as error:
            return type(error).__name__

    def bad_reducer(self, target, reducer):
        try:
            self.reduce(target, 1, reducer)
        except Charm4PyError as error:
            return error.message

    def many(self, futures):
        for i, future in enumerate(futures):
            self.reduce(future, i, Reducer.sum)

    def mixed(self, futures):
        self.reduce(futures[0], 1, Reducer.sum)
        self.reduce(futures[1], self.number(), Reducer.max)
        self.reduce(futures[2])
        self.reduce(futures[3], str(self.number()), Reducer.gather)
        self.reduce(futures[4], numpy.ones(3), Reducer.sum)

    def change_after(self, future):
        mine = numpy.full(10, 1)
        self.reduce(future, mine, Reducer.sum)
        mine[:] = 1000

    @coro
    def change_later(self, futures):
        mine = numpy.full(4, 1)
        self.reduce(futures[0], mine, Reducer.sum)
        charm.sleep(0.001)
        self.reduce(futures[1], int(mine.sum()), Reducer.sum)

    def receive(self, *args):
        self.got.append(args)

    def take_got(self):
        got, self.got = self.got, []
        return got

    # ---- allreduce ----

    @coro
    def all(self, reducer, values):
        return self.allreduce(values[self.number()], getattr(Reducer, reducer)).get()

    async def all_async(self, reducer, values):
        return await self.allreduce(data=values[self.number()], reducer=getattr(Reducer, reducer))

    @coro
    def all_empty(self):
        return self.allreduce().get()

    @coro
    def many_all(self, count):
        futures = [self.allreduce(i, Reducer.sum) for i in range(count)]
        return [future.get() for future in reversed(futures)]

    @coro
    def iterate(self, count):
        value = self.number()
        for _ in range(count):
            value = self.allreduce(value, Reducer.max).get() + 1
        return value

    @coro
    def barrier(self, steps):
        for step in range(steps):
            self.got.append(step)
            self.allreduce().get()
        return self.got


def same(got, expected):
    """Equal in type, dtype, shape and value."""
    if isinstance(expected, numpy.ndarray):
        return (isinstance(got, numpy.ndarray) and got.dtype == expected.dtype
                and got.shape == expected.shape and bool(numpy.all(got == expected)))
    return type(got) is type(expected) and bool(got == expected)


def reduce_over(proxy, reducer, values, method='reduce_values'):
    future = Future()
    getattr(proxy, method)(future, reducer, values)
    return future.get()


def contributors():
    """Collections of several sizes: fewer and more elements than PEs, and groups."""
    return [(Array(Contributor, 7), 7), (Array(Contributor, 1), 1),
            (Group(Contributor), charm.numPes())]


def check_values(reducers, make, expected=None):
    """Reduce make(0), make(1), ... by each of the reducers; NumPy or Python say what comes out."""
    for proxy, count in contributors():
        values = [make(i) for i in range(count)]
        for reducer in reducers:
            got = reduce_over(proxy, reducer, values)
            if expected is not None:
                want = expected(reducer, values)
            else:
                operation = OPERATIONS.get(reducer, UFUNCS.get(reducer))
                want = functools.reduce(operation, values)
            assert same(got, want), (reducer, count, got, want)


def by_ufunc(convert=numpy.array):
    def expected(reducer, values):
        arrays = [convert(value) for value in values]
        value = functools.reduce(UFUNCS[reducer], arrays)
        return value.reshape(-1)[0] if value.shape in ((), (1,)) else value
    return expected


# ---- Python numbers ----

@check
def test_ints_stay_ints_and_never_wrap():
    check_values(ARITHMETIC, lambda i: i + 1)
    check_values(ARITHMETIC, lambda i: -5 * i)
    check_values(ARITHMETIC, lambda i: 2 ** 62 + i)
    check_values(ARITHMETIC, lambda i: -2 ** 200 * (i + 1))


@check
def test_floats_and_complex_numbers_stay_what_they_are():
    check_values(ARITHMETIC, lambda i: i * 0.5 - 1)
    check_values(ARITHMETIC, lambda i: 1e308 * (i + 1))
    check_values(('sum', 'product'), lambda i: complex(i, 1))


@check
def test_ints_and_floats_may_be_mixed():
    check_values(('sum', 'product'), lambda i: i + 1 if i % 2 else i + 0.5)


@check
def test_bools_stay_bools_where_they_mean_truth():
    for make in (lambda i: True, lambda i: False, lambda i: i % 2 == 0, lambda i: i == 3):
        check_values(('max', 'min'), make)
        check_values(LOGICAL, make, lambda reducer, values: functools.reduce(
            {'logical_and': lambda a, b: a and b, 'logical_or': lambda a, b: a or b,
             'logical_xor': operator.ne}[reducer], values))


@check
def test_the_sum_of_bools_counts_them():
    check_values(('sum', 'product'), lambda i: i % 2 == 0, lambda reducer, values: functools.reduce(
        OPERATIONS[reducer], map(int, values)))


@check
def test_other_numbers_and_all_with_a_plus_can_be_added():
    check_values(ARITHMETIC, lambda i: fractions.Fraction(i, 3))
    check_values(ARITHMETIC, lambda i: decimal.Decimal(i) / 4)
    check_values(('sum', 'product'), lambda i: Vector(i, i + 1))
    check_values(('sum', 'max', 'min'), lambda i: LETTERS[i])
    check_values(('sum', 'max', 'min'), lambda i: LETTERS[i:].encode())


# ---- NumPy scalars ----

@check
def test_numpy_scalars_keep_their_type():
    for name in ('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
                 'float16', 'float32', 'float64', 'longdouble', 'complex64', 'complex128'):
        scalar = getattr(numpy, name)
        operations = ARITHMETIC if not name.startswith('complex') else ('sum', 'product')
        check_values(operations, lambda i: scalar(i % 2 + 1), lambda reducer, values:
                     functools.reduce(UFUNCS[reducer], values))


@check
def test_numpy_bools_work_with_the_logical_reducers_and_are_counted_by_sum():
    check_values(LOGICAL, lambda i: numpy.bool_(i % 2), lambda reducer, values: functools.reduce(
        UFUNCS[reducer], values))
    check_values(('max', 'min'), lambda i: numpy.bool_(i % 2), lambda reducer, values:
                 functools.reduce(UFUNCS[reducer], values))
    check_values(('sum',), lambda i: numpy.bool_(True), lambda _, values: numpy.int64(len(values)))


@check
def test_times_of_numpy_can_be_reduced():
    check_values(('max', 'min'), lambda i: numpy.datetime64('2020-01-01') + i, by_ufunc())
    check_values(('sum', 'max', 'min'), lambda i: numpy.timedelta64(i, 's'), by_ufunc())


# ---- arrays ----

@check
def test_arrays_of_every_type_keep_type_and_shape():
    for name in ('int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
                 'float16', 'float32', 'float64', 'longdouble', 'complex64', 'complex128'):
        operations = ARITHMETIC if not name.startswith('complex') else ('sum', 'product')
        check_values(operations, lambda i: (numpy.arange(12) % 3 + i % 2).astype(name)
                     .reshape(3, 4), by_ufunc())


@check
def test_arrays_of_every_shape_keep_it():
    for shape in ((5,), (1, 1), (2, 1), (1, 3), (2, 3, 4), (2, 1, 2, 1, 2), (0,), (3, 0), (1000,)):
        check_values(ARITHMETIC, lambda i: numpy.arange(numpy.prod(shape)).reshape(shape) * (i + 1),
                     by_ufunc())


@check
def test_arrays_of_every_layout_are_right():
    base = numpy.arange(60.).reshape(5, 12)
    for take in (lambda a: numpy.asfortranarray(a), lambda a: a.T, lambda a: a[::2, ::3],
                 lambda a: a[::-1, ::-1], lambda a: numpy.broadcast_to(a[0], (4, 12)),
                 lambda a: a[:, 1]):
        check_values(ARITHMETIC, lambda i: take(base + i), by_ufunc())


@check
def test_arrays_of_another_byte_order_are_right():
    for proxy, count in contributors():
        got = reduce_over(proxy, 'sum', [numpy.arange(5, dtype='>i4') + 0] * count)
        assert (got == numpy.arange(5) * count).all()
        got = reduce_over(proxy, 'max', [numpy.arange(5).astype('>f8') * i for i in range(count)])
        assert (got == numpy.arange(5) * (count - 1)).all()


@check
def test_overflow_of_a_fixed_type_follows_numpy():
    with numpy.errstate(over='ignore'):
        check_values(('sum',), lambda i: numpy.full(4, 100, 'int8'), by_ufunc())
        check_values(('product',), lambda i: numpy.full(4, 2 ** 40), by_ufunc())


@check
def test_nan_and_infinity_follow_numpy():
    for proxy, count in contributors():
        values = [numpy.array([i, numpy.nan if i == 1 else i, numpy.inf]) for i in range(count)]
        for reducer in ('sum', 'max', 'min'):
            want = functools.reduce(UFUNCS[reducer], values)
            assert numpy.array_equal(reduce_over(proxy, reducer, values), want, equal_nan=True)


@check
def test_arrays_of_bools_work_with_the_logical_reducers():
    check_values(LOGICAL, lambda i: numpy.arange(6).reshape(2, 3) % (i + 2) == 0, by_ufunc())
    check_values(('max', 'min'), lambda i: numpy.arange(6) % (i + 2) == 0, by_ufunc())


@check
def test_the_sum_of_arrays_of_bools_counts_them():
    check_values(('sum',), lambda i: numpy.arange(6) % (i + 2) == 0,
                 by_ufunc(lambda a: a.astype(int)))


@check
def test_an_array_of_one_element_gives_a_scalar():
    for proxy, count in contributors():
        got = reduce_over(proxy, 'sum', [numpy.array([1.5])] * count)
        assert isinstance(got, numpy.float64) and got == 1.5 * count
        got = reduce_over(proxy, 'sum', [numpy.array(2, 'int16')] * count)
        assert isinstance(got, numpy.int16) and got == 2 * count
        got = reduce_over(proxy, 'logical_and', [numpy.array([True])] * count)
        assert isinstance(got, numpy.bool_) and got
        got = reduce_over(proxy, 'sum', [[3]] * count)
        assert numpy.isscalar(got) and got == 3 * count


@check
def test_arrays_of_objects_are_combined_by_their_elements():
    make = (lambda i: numpy.array([2 ** 70 * i, 'ab'[i % 2], fractions.Fraction(i, 2)], object))
    for proxy, count in contributors():
        values = [make(i) for i in range(count)]
        got = reduce_over(proxy, 'sum', values)
        assert got.dtype == object and list(got) == list(functools.reduce(numpy.add, values))


@check
def test_arrays_of_subclasses_keep_their_class():
    for proxy, count in contributors():
        got = reduce_over(proxy, 'sum', [numpy.ma.masked_array([1, 2, 3], [0, 1, 0])] * count)
        assert isinstance(got, numpy.ma.MaskedArray) and got.mask.tolist() == [False, True, False]
        assert got[0] == count
        got = reduce_over(proxy, 'max', [numpy.ma.masked_array([i, 2], [0, 1])
                                         for i in range(count)])
        assert got[0] == count - 1 and got.mask.tolist() == [False, True]


# ---- lists ----

@check
def test_lists_and_tuples_of_numbers_give_arrays():
    for kind in (list, tuple):
        check_values(ARITHMETIC, lambda i: kind((1, i, -2)), by_ufunc())
        check_values(ARITHMETIC, lambda i: kind((1.5, i, -2)), by_ufunc())
        check_values(ARITHMETIC, lambda i: kind(([1, 2], [i, 4])), by_ufunc())
        check_values(LOGICAL, lambda i: kind((True, i % 2 == 0, False)), by_ufunc())
        check_values(('sum', 'product'), lambda i: kind((1j, i)), by_ufunc())
    check_values(ARITHMETIC, lambda i: [], by_ufunc())


@check
def test_lists_of_big_ints_do_not_wrap():
    for proxy, count in contributors():
        got = reduce_over(proxy, 'sum', [[2 ** 70, i] for i in range(count)])
        assert list(got) == [2 ** 70 * count, sum(range(count))]


@check
def test_arrays_of_the_standard_library_give_arrays():
    for code in 'bBhHiIlLqQfd':
        check_values(ARITHMETIC, lambda i: array.array(code, [1, i, 3]), by_ufunc())


@check
def test_what_cannot_be_combined_is_refused_at_the_contributor():
    chare = Chare(Contributor, onPE=charm.numPes() - 1)
    for reducer, value in (
            ('logical_and', 1), ('logical_or', 1.5), ('logical_xor', numpy.arange(3)),
            ('logical_and', [1, 2]), ('logical_and', 'x'), ('logical_or', None),
            ('sum', ['a', 'b']), ('max', [None, 1]), ('sum', [{}])):
        text = chare.refused(reducer, value, ret=True).get()
        assert text is not None and f'Reducer.{reducer}' in text, (reducer, value, text)


# ---- gather ----

@check
def test_gather_gives_the_contributions_in_the_order_of_indexes():
    for proxy, count in contributors():
        for make in (lambda i: i, lambda i: None, lambda i: [i, {}], lambda i: {'a': i},
                     lambda i: 'x' * i, lambda i: numpy.arange(i), lambda i: Vector(i, i)):
            values = [make(i) for i in range(count)]
            got = reduce_over(proxy, 'gather', values)
            assert isinstance(got, list) and len(got) == count
            assert all(numpy.array_equal(a, b) if isinstance(a, numpy.ndarray) else a == b
                       for a, b in zip(got, values))


@check
def test_gather_orders_by_all_coordinates():
    class Plane(Chare):
        def go(self, future):
            self.reduce(future, self.thisIndex, Reducer.gather)

    future = Future()
    Array(Plane, (3, 4, 2)).go(future)
    assert future.get() == [(i, j, k) for i in range(3) for j in range(4) for k in range(2)]


# ---- targets ----

@check
def test_methods_of_any_proxy_can_be_the_target():
    last = charm.numPes() - 1
    group, other = Group(Contributor), Array(Contributor, (2, 3))
    single = Chare(Contributor, onPE=last)
    for source, count in contributors():
        for target, receivers in (
                (group[last], [group[last]]), (other[1, 2], [other[1, 2]]), (single, [single]),
                (group, [group[pe] for pe in range(charm.numPes())]),
                (other, [other[i, j] for i in range(2) for j in range(3)]),
                (source[0], [source[0]])):
            source.reduce_values(target.receive, 'sum', [2] * count)
            charm.waitQD()
            for receiver in receivers:
                assert receiver.take_got(ret=True).get() == [(2 * count,)]
    everyone = Array(Contributor, 5)
    everyone.reduce_values(everyone.receive, 'max', list(range(5)))
    charm.waitQD()
    assert everyone.take_got(ret=True).get() == [[(4,)]] * 5


@check
def test_a_future_of_any_pe_can_be_the_target():
    class Owner(Chare):
        @coro
        def own(self, source, count):
            future = Future()
            source.reduce_values(future, 'sum', [1] * count)
            return future.get()

    owners = Group(Owner)
    for source, count in contributors():
        for pe in range(charm.numPes()):
            assert owners[pe].own(source, count, ret=True).get() == count


@check
def test_an_empty_reduction_calls_its_target_without_an_argument():
    chare = Chare(Contributor, onPE=charm.numPes() - 1)
    for source, _ in contributors():
        for how in ('default', 'nop', 'none', 'old'):
            source.reduce_nothing(chare.receive, how)
            charm.waitQD()
            assert chare.take_got(ret=True).get() == [()]
            future = Future()
            source.reduce_nothing(future, how)
            assert future.get() is None


@check
def test_old_and_new_orders_of_arguments_and_keywords_work():
    for source, count in contributors():
        for method in ('reduce_values', 'reduce_keywords', 'contribute_values'):
            assert reduce_over(source, 'sum', [3] * count, method) == 3 * count


@check
def test_a_target_that_is_none_is_refused():
    chare = Chare(Contributor, onPE=charm.numPes() - 1)
    assert chare.bad_callback(5, ret=True).get() == 'AssertionError'
    assert chare.bad_callback(None, ret=True).get() == 'AssertionError'
    assert chare.bad_callback(print, ret=True).get() == 'TypeError'


@check
def test_a_reducer_that_is_none_is_refused_with_the_remedy():
    chare, future = Chare(Contributor, onPE=charm.numPes() - 1), Future()
    for bad in (max, len, 'sum', 5):
        assert 'addReducer' in chare.bad_reducer(future, bad, ret=True).get()


# ---- many ----

@check
def test_any_number_of_reductions_may_be_outstanding():
    for source, count in contributors():
        futures = [Future() for _ in range(300)]
        source.many(futures)
        assert [future.get() for future in futures] == [i * count for i in range(300)]


@check
def test_reductions_of_different_kinds_may_be_outstanding():
    for source, count in contributors():
        futures = [Future() for _ in range(5)]
        source.mixed(futures)
        values = [future.get() for future in futures]
        assert values[:4] == [count, count - 1, None, [str(i) for i in range(count)]]
        assert (values[4] == numpy.full(3, float(count))).all()


@check
def test_what_happens_to_an_array_after_its_contribution_does_not_matter():
    for source, count in contributors():
        future = Future()
        source.change_after(future)
        assert (future.get() == numpy.full(10, count)).all()


@check
def test_a_contributor_s_array_is_not_changed_by_the_reduction():
    for source, count in contributors():
        futures = [Future(), Future()]
        source.change_later(futures)
        assert (futures[0].get() == numpy.full(4, count)).all()
        assert futures[1].get() == 4 * count


# ---- allreduce ----

@check
def test_an_allreduce_reaches_every_contributor():
    for source, count in contributors():
        for method in (source.all, source.all_async):
            for reducer, values, want in (('sum', list(range(count)), sum(range(count))),
                                          ('max', [float(i) for i in range(count)], count - 1.),
                                          ('logical_or', [i == 0 for i in range(count)], True),
                                          ('gather', list(LETTERS[:count]),
                                           list(LETTERS[:count]))):
                got = method(reducer, values, ret=True).get()
                assert got == [want] * count and {type(v) for v in got} == {type(want)}
            for got in method('sum', [numpy.full((2, 3), i) for i in range(count)], ret=True).get():
                assert same(got, numpy.full((2, 3), sum(range(count))))


@check
def test_an_empty_allreduce_is_a_barrier():
    for source, count in contributors():
        assert source.all_empty(ret=True).get() == [None] * count
        assert source.barrier(20, ret=True).get() == [list(range(20))] * count


@check
def test_many_allreduces_may_be_outstanding():
    for source, count in contributors():
        assert source.many_all(50, ret=True).get() == [
            [i * count for i in reversed(range(50))]] * count


@check
def test_allreduces_in_a_loop_work():
    for source, count in contributors():
        assert source.iterate(100, ret=True).get() == [count - 1 + 100] * count


@check
def test_reductions_of_several_collections_do_not_mix():
    sources = [(Array(Contributor, count), count) for count in (2, 3, 5, 8)]
    futures = []
    for _ in range(20):
        for source, count in sources:
            futures.append((Future(), count))
            source.reduce_values(futures[-1][0], 'sum', [1] * count)
    assert [future.get() for future, _ in futures] == [count for _, count in futures]


if __name__ == '__main__':
    start_checks()
