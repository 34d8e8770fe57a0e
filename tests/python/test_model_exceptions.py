"""Exceptions in remote methods (SPEC 3.5)."""

from c4py import Array, Chare, Future, Group, RemoteError, charm, coro

from model import check, start_checks


class TwoArguments(Exception):
    """Its constructor takes something else than args."""

    def __init__(self, first, second):
        super().__init__(f'{first} and {second}')
        self.first = first


class Stubborn(Exception):
    """Cannot be made but by its constructor."""

    def __new__(cls, first, second):
        return super().__new__(cls, first)

    def __init__(self, first, second):
        super().__init__(first)


class Keeper(Exception):
    def __init__(self, message, code):
        super().__init__(message, code)
        self.code = code


class Faulty(Chare):
    def raise_it(self, error):
        raise error

    def divide(self, x, y):
        return x / y

    @coro
    def in_coroutine(self):
        charm.sleep(0.001)
        raise LookupError('in a coroutine')

    async def in_async(self):
        await charm.sleep(0.001)
        raise LookupError('in async')

    def not_picklable(self):
        error = ValueError('with a generator')
        error.generator = (x for x in ())
        raise error

    def not_unpicklable(self):
        raise TwoArguments('a', 'b')

    def not_constructible(self):
        raise Stubborn('a', 'b')

    def local_class(self):
        class Local(Exception):
            pass
        raise Local('of a local class')

    def keeps_attributes(self):
        error = Keeper('text', 5)
        error.extra = [1]
        raise error

    def some_fail(self):
        if self.thisIndex % 2:
            raise ValueError(self.thisIndex)
        return self.thisIndex

    def returns_exception(self):
        return KeyError('returned')

    def returns_unsendable(self):
        return (x for x in ())

    def chained(self):
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise ValueError('outer') from error

    @coro
    def pass_on(self, other):
        return other.divide(1, 0, ret=True).get()

    def wrong_count(self, a, b):
        return a, b

    def fine(self):
        return 'fine'

    def take(self, value):
        return 'taken'


class CannotBeUnpickled:
    def __reduce__(self):
        return _fail_at_unpickling, ()


def _fail_at_unpickling():
    raise OSError('cannot be unpickled')


def chares():
    return [Chare(Faulty, onPE=0), Chare(Faulty, onPE=charm.numPes() - 1)]


def error_of(future, error_class=Exception):
    try:
        future.get()
    except error_class as error:
        return error
    assert False, 'not raised'


@check
def test_an_exception_reaches_who_reads_the_future():
    for pe, chare in zip((0, charm.numPes() - 1), chares()):
        for future in (chare.divide(1, 0, ret=True), chare.divide(1, 0, awaitable=True)):
            error = error_of(future, ZeroDivisionError)
            assert str(error) == 'division by zero'
            assert error.remote_stacktrace[0] == pe
            assert 'in divide' in error.remote_stacktrace[1]
            assert 'return x / y' in error.remote_stacktrace[1]
        assert chare.fine(ret=True).get() == 'fine'


@check
def test_exceptions_of_coroutines_reach_who_reads_the_future():
    for chare in chares():
        assert error_of(chare.in_coroutine(ret=True), LookupError).args == ('in a coroutine',)
        assert error_of(chare.in_async(ret=True), LookupError).args == ('in async',)


@check
def test_attributes_of_an_exception_travel():
    for chare in chares():
        error = error_of(chare.keeps_attributes(ret=True), Keeper)
        assert error.code == 5 and error.extra == [1] and error.args == ('text', 5)


@check
def test_exceptions_that_cannot_travel_have_a_stand_in_that_tells_all():
    for chare in chares():
        for method, name in ((chare.not_picklable, 'ValueError: with a generator'),
                             (chare.not_constructible, 'Stubborn: a')):
            error = error_of(method(ret=True), RemoteError)
            assert name in str(error)
            assert 'raise ' in error.remote_stacktrace[1]


@check
def test_exceptions_whose_constructor_takes_other_arguments_travel():
    for chare in chares():
        error = error_of(chare.not_unpicklable(ret=True), TwoArguments)
        assert error.first == 'a' and str(error) == 'a and b'
        assert 'raise TwoArguments' in error.remote_stacktrace[1]


@check
def test_exceptions_of_local_classes_travel():
    for chare in chares():
        error = error_of(chare.local_class(ret=True))
        assert error.__class__.__name__ == 'Local' and error.args == ('of a local class',)


@check
def test_an_awaitable_broadcast_raises_one_of_the_exceptions():
    array = Array(Faulty, 4)
    error = error_of(array.divide(1, 0, awaitable=True), ZeroDivisionError)
    assert error.remote_stacktrace[0] in range(charm.numPes())
    error = error_of(Group(Faulty).raise_it(KeyError('x'), awaitable=True), KeyError)
    assert error.args == ('x',)


@check
def test_a_broadcast_with_ret_gives_exceptions_in_their_places():
    values = Group(Faulty).some_fail(ret=True).get()
    for pe, value in enumerate(values):
        if pe % 2:
            assert isinstance(value, ValueError) and value.args == (pe,)
            assert value.remote_stacktrace[0] == pe
        else:
            assert value == pe
    for method, error_class in (('not_unpicklable', TwoArguments),
                                ('not_constructible', RemoteError), ('not_picklable', RemoteError)):
        values = getattr(Array(Faulty, 3), method)(ret=True).get()
        assert [isinstance(value, error_class) for value in values] == [True] * 3


@check
def test_a_returned_exception_is_raised_by_the_future():
    for chare in chares():
        assert error_of(chare.returns_exception(ret=True), KeyError).args == ('returned',)


@check
def test_a_value_that_cannot_be_sent_back_is_an_error_of_the_call():
    for chare in chares():
        assert 'generator' in str(error_of(chare.returns_unsendable(ret=True)))
    values = Array(Faulty, 3).returns_unsendable(ret=True).get()
    assert all('generator' in str(value) for value in values)


@check
def test_the_cause_of_an_exception_is_in_its_trace():
    for chare in chares():
        text = error_of(chare.chained(ret=True), ValueError).remote_stacktrace[1]
        assert 'ZeroDivisionError' in text and 'direct cause' in text


@check
def test_an_exception_passed_on_keeps_the_trace_of_its_origin():
    for chare in chares():
        origin = Chare(Faulty, onPE=0)
        error = error_of(chare.pass_on(origin, ret=True), ZeroDivisionError)
        assert error.remote_stacktrace[0] == 0 and 'in divide' in error.remote_stacktrace[1]


@check
def test_arguments_that_cannot_be_unpickled_are_an_error_of_the_call():
    for chare in chares():
        error = error_of(chare.take(CannotBeUnpickled(), ret=True), OSError)
        assert 'cannot be unpickled' in str(error)
        assert chare.fine(ret=True).get() == 'fine'
    error_of(Group(Faulty).take(CannotBeUnpickled(), awaitable=True), OSError)
    error_of(Array(Faulty, 4).take(CannotBeUnpickled(), ret=True), OSError)


@check
def test_values_that_cannot_be_unpickled_are_an_error_of_the_call():
    for chare in chares():
        future = Future()
        future.send(CannotBeUnpickled())
        assert 'cannot be unpickled' in str(error_of(future, OSError))


@check
def test_arguments_that_cannot_be_pickled_raise_at_the_caller_and_are_named():
    group = Group(Faulty)
    for proxy in (group, group[0], group[charm.numPes() - 1]):
        for bad in ((x for x in ()), [1, {2: (x for x in ())}]):
            for options in ({}, {'ret': True}):
                try:
                    proxy.take(bad, **options)
                except TypeError as error:
                    assert 'generator' in str(error) and 'argument 1' in str(error)
                else:
                    assert False, 'not raised'


@check
def test_the_program_goes_on_after_a_hundred_errors():
    array = Array(Faulty, 5)
    for i in range(100):
        error_of(array[i % 5].raise_it(ValueError(i), ret=True), ValueError)
    assert array.fine(ret=True).get() == ['fine'] * 5


if __name__ == '__main__':
    start_checks()
