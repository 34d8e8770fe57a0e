"""Chare classes may be defined anywhere, at any time (SPEC 0.1, 0.10, 1.3)."""

import functools
import sys
import types

from c4py import Array, Chare, Charm4PyError, Group, Reducer, charm, coro, readonlies, register

from model import check, start_checks

FACTOR = 3


class Base(Chare):
    pass


class Holder(Chare):
    def hold(self, value):
        self.value = value
        return str(value)

    def call(self, proxy):
        proxy.touch()
        return repr(proxy)

    @coro
    def ask(self, proxy):
        return proxy.number(ret=True).get()

    def define_and_create(self, number):
        class Local(Chare):
            def number(self):
                return number, charm.myPe()
        return Group(Local)

    def note(self, value):
        self.notes = getattr(self, 'notes', []) + [value]

    def get_notes(self):
        return self.notes


def make_class(number):
    class Made(Chare):
        def number(self):
            return number

        def where(self):
            return charm.myPe(), charm.numPes(), self.thisIndex

        def touch(self):
            pass

        def reduce_it(self, future):
            self.reduce(future, number, Reducer.sum)

        def uses_globals(self):
            return FACTOR * number

        def identities(self):
            return (charm is sys.modules['c4py.charm'].charm, Reducer is charm.reducers,
                    readonlies is sys.modules['c4py.charm']._readonlies,
                    charm.options is sys.modules['c4py.charm'].charm.options)

    return Made


MadeAtStart = make_class('at start')
Repeated = make_class('first')
Repeated2 = make_class('second')


def last():
    return charm.numPes() - 1


def all_pes():
    return list(range(charm.numPes()))


@check
def test_a_class_may_be_defined_in_a_function():
    made = make_class(1)
    assert Group(made).number(ret=True).get() == [1] * charm.numPes()
    assert Array(made, 5).number(ret=True).get() == [1] * 5
    assert Chare(made, onPE=last()).number(ret=True).get() == 1


@check
def test_classes_of_one_definition_with_different_contents_are_different():
    classes = [make_class(number) for number in range(5)]
    groups = [Group(cls) for cls in classes]
    arrays = [Array(cls, charm.numPes()) for cls in reversed(classes)]
    for number in range(5):
        assert groups[number].number(ret=True).get() == [number] * charm.numPes()
        assert arrays[4 - number].number(ret=True).get() == [number] * charm.numPes()


@check
def test_classes_made_by_every_pe_at_start_work():
    assert Group(MadeAtStart).number(ret=True).get() == ['at start'] * charm.numPes()
    assert Group(Repeated2).number(ret=True).get() == ['second'] * charm.numPes()
    assert Group(Repeated).number(ret=True).get() == ['first'] * charm.numPes()


@check
def test_in_a_class_that_travelled_the_runtime_is_that_of_its_pe():
    group = Group(make_class(1))
    assert group.where(ret=True).get() == [(pe, charm.numPes(), pe) for pe in all_pes()]
    assert group.identities(ret=True).get() == [(True,) * 4] * charm.numPes()


@check
def test_a_class_that_travelled_sees_the_globals_it_uses():
    assert Group(make_class(5)).uses_globals(ret=True).get() == [15] * charm.numPes()


@check
def test_a_class_may_be_defined_on_any_pe():
    holders = Group(Holder)
    for pe in all_pes():
        made = holders[pe].define_and_create(pe, ret=True).get()
        assert made.number(ret=True).get() == [(pe, other) for other in all_pes()]


@check
def test_a_class_may_be_redefined_under_its_name():
    module = sys.modules['__main__']
    for number in range(3):
        code = f'''
class Redefined(Chare):
    def number(self):
        return {number}
'''
        exec(code, vars(module))
        assert Group(module.Redefined).number(ret=True).get() == [number] * charm.numPes()


@check
def test_the_old_class_works_when_its_name_has_a_new_one():
    module = sys.modules['__main__']
    exec('class Replaced(Chare):\n    def number(self):\n        return "old"', vars(module))
    old = Group(module.Replaced)
    exec('class Replaced(Chare):\n    def number(self):\n        return "new"', vars(module))
    new = Group(module.Replaced)
    assert old.number(ret=True).get() == ['old'] * charm.numPes()
    assert new.number(ret=True).get() == ['new'] * charm.numPes()


@check
def test_a_proxy_of_a_class_may_arrive_before_anything_else_of_it():
    holders = Group(Holder)
    chare = Chare(make_class(1), onPE=0)
    for pe in all_pes():
        assert 'MadeArrayProxy' in holders[pe].hold([chare], ret=True).get()
        assert 'MadeArrayProxy' in holders[pe].call(chare, ret=True).get()
        assert holders[pe].ask(chare, ret=True).get() == 1


@check
def test_what_waits_for_a_class_is_not_overtaken():
    holder = Chare(Holder, onPE=last())
    for number in range(5):
        proxy = Chare(make_class(number), onPE=0)
        holder.note(2 * number)
        holder.note((proxy, 2 * number + 1))
    notes = holder.get_notes(ret=True).get()
    assert [note if isinstance(note, int) else note[1] for note in notes] == list(range(10))


@check
def test_reductions_of_classes_that_travelled_work():
    from c4py import Future
    future = Future()
    Array(make_class(2), 7).reduce_it(future)
    assert future.get() == 14


@check
def test_chare_classes_of_the_same_name_in_different_modules_are_different():
    modules = []
    for number in range(2):
        name = f'same_name_{number}'
        code = f'''
import sys, types
from c4py import Chare
module = types.ModuleType({name!r})
sys.modules[{name!r}] = module
exec("""
from c4py import Chare
class Same(Chare):
    def number(self):
        return {number}
    def me(self):
        return self.thisProxy
""", vars(module))
'''
        charm.thisProxy.exec(code, awaitable=True).get()
        modules.append(sys.modules[name])
    groups = [Group(module.Same) for module in modules]
    for number, group in enumerate(groups):
        assert group.number(ret=True).get() == [number] * charm.numPes()
        assert group.me(ret=True).get() == [group] * charm.numPes()
        assert type(group).__name__ == 'SameGroupProxy'
        assert type(group).__module__ == f'same_name_{number}'
    assert groups[0] != groups[1]


@check
def test_a_class_may_be_registered():
    @register
    class Registered(Chare):
        def number(self):
            return 1

    assert Registered.__name__ == 'Registered'
    assert Group(Registered).number(ret=True).get() == [1] * charm.numPes()
    try:
        register(int)
    except Charm4PyError as error:
        assert 'int' in str(error)
    else:
        assert False, 'not raised'


@check
def test_names_that_the_runtime_needs_are_refused():
    for name in ('wait', 'contribute', 'reduce', 'allreduce', 'AtSync', 'migrate',
                 'setMigratable'):
        cls = types.new_class('Clash', (Chare,), exec_body=lambda body: body.update(
            {name: lambda self: None}))
        try:
            Group(cls)
        except Charm4PyError as error:
            assert f'Clash.{name}' in str(error)
        else:
            assert False, name
    cls = types.new_class('Fine', (Chare,), exec_body=lambda body: body.update(
        {'migrated': lambda self: None}))
    assert not hasattr(Group(cls), 'migrated')


def logged(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        self.log.append(function.__name__)
        return function(self, *args, **kwargs)
    return wrapper


class Strange(Chare):
    """Methods that are no plain functions, and a class that is no plain class."""

    __slots__ = ('log', 'value')

    def __init__(self):
        self.log = []

    @logged
    def wrapped(self, a, b=2):
        return a + b

    @logged
    @coro
    def wrapped_coroutine(self, chare):
        return chare.wrapped(1, ret=True).get()

    @logged
    async def wrapped_async(self, chare):
        return await chare.wrapped(1, ret=True)

    def get_log(self):
        return self.log

    @property
    def a_property(self):
        return 5

    partial = functools.partial(max, 3)
    builtin = len


@check
def test_methods_may_be_anything_that_can_be_called():
    for chare in (Chare(Strange, onPE=0), Chare(Strange, onPE=last())):
        assert chare.wrapped(1, ret=True).get() == 3
        assert chare.wrapped(1, b=5, ret=True).get() == 6
        assert chare.wrapped_coroutine(chare, ret=True).get() == 3
        assert chare.wrapped_async(chare, ret=True).get() == 3
        assert chare.partial(7, ret=True).get() == 7
        assert chare.builtin([1, 2], ret=True).get() == 2
        assert chare.get_log(ret=True).get() == ['wrapped', 'wrapped', 'wrapped_coroutine',
                                                 'wrapped', 'wrapped_async', 'wrapped']
        assert not hasattr(chare, 'a_property')


@check
def test_a_class_may_have_several_chares_as_bases():
    class Left(Chare):
        def left(self):
            return 'left'

        def both(self):
            return ['left']

    class Right(Chare):
        def right(self):
            return 'right'

        def both(self):
            return ['right']

    class Both(Left, Right):
        def both(self):
            return super().both() + Right.both(self)

    group = Group(Both)
    for pe in all_pes():
        assert group[pe].left(ret=True).get() == 'left'
        assert group[pe].right(ret=True).get() == 'right'
        assert group[pe].both(ret=True).get() == ['left', 'right']


@check
def test_a_constructor_cannot_be_async():
    class Bad(Chare):
        async def __init__(self):
            pass

    try:
        Group(Bad)
    except Charm4PyError as error:
        assert 'Bad.__init__' in str(error) and '@coro' in str(error)
    else:
        assert False, 'not raised'


@check
def test_a_class_called_itself_makes_a_plain_object():
    plain = Holder()
    assert plain.hold(5) == '5'
    for call in (lambda: plain.thisProxy, lambda: plain.reduce(print),
                 lambda: plain.allreduce()):
        try:
            call()
        except Charm4PyError as error:
            assert 'Holder' in str(error)
        else:
            assert False, 'not raised'


if __name__ == '__main__':
    charm.options.remote_exec = True
    start_checks()
