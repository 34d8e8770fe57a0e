"""Starting a program: main, its arguments, options, readonlies (SPEC 1.2-1.6)."""

import os
import subprocess
import sys

import pytest
from harness import BUILD

ALL_PES = pytest.mark.parametrize('pes', (1, 2, 3, 4))
SOME_PES = pytest.mark.parametrize('pes', (1, 3))

HEAD = '''
import sys
from c4py import charm, Chare, Group, Array, Future, Reducer, coro
'''


@pytest.fixture
def prints(run_program):
    """Run a program that ends with code 0 and complains of nothing; returns what it prints."""

    def run(source, pes=2, args=(), **options):
        ran = run_program(HEAD + source, pes, args, **options)
        assert (ran.returncode, ran.stderr) == (0, ''), ran
        return ran.stdout

    return run


@pytest.fixture
def fails(run_program):
    """Run a program that ends with code 1; returns the last line of its complaints."""

    def run(source, pes=2, args=()):
        ran = run_program(HEAD + source, pes, args)
        assert ran.returncode == 1, ran
        return ran.stderr

    return run


def python(*arguments, directory=None, input=''):
    """Run the interpreter with the package that is under test."""
    return subprocess.run([sys.executable, *map(str, arguments)], text=True, capture_output=True,
                          cwd=directory, input=input, timeout=60,
                          env={**os.environ, 'PYTHONPATH': str(BUILD / 'python')})


# ---- importing ----

def test_the_import_is_lean_and_has_no_side_effects():
    ran = python('-c', '''
import sys, threading
before = set(sys.modules)
import c4py
heavy = {'numpy', 'cloudpickle', 'inspect', 'greenlet', 'subprocess', 'pickle', 'asyncio'}
print(sorted(heavy & (set(sys.modules) - before)), threading.active_count(), c4py.charm.myPe())
''')
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, '[] 1 -1\n', '')


def test_a_program_that_needs_no_numpy_does_not_import_it(prints):
    assert prints('''
class Hello(Chare):
    def hello(self, x, y=1):
        return sorted({'numpy', 'cloudpickle', 'inspect'} & set(sys.modules))
def main(args):
    future = Future()
    print(Group(Hello).hello(1, ret=True).get(), Array(Hello, 3)[2].hello(2, y=[1, {}]))
    exit()
charm.start(main)
''', 3) == "[[], [], []] None\n"


def test_everything_public_has_a_docstring():
    ran = python('-c', '''
import c4py
for name in c4py.__all__:
    thing = getattr(c4py, name)
    if isinstance(thing, str):
        continue
    assert getattr(thing, '__doc__', None), name
    for member in dir(thing):
        if not member.startswith('_') and callable(getattr(thing, member)):
            assert getattr(thing, member).__doc__, (name, member)
''')
    assert (ran.returncode, ran.stderr) == (0, '')


@pytest.mark.parametrize('name', ('c4py', 'charm4py'))
def test_old_programs_find_their_names(name):
    ran = python('-c', f'''
from {name} import charm, Chare, Group, Array, Reducer, Future, coro, register, threaded, coro_ext
from {name} import readonlies, Options, charm4py_version, checkCharmStarted
from {name}.charm import Charm4PyError
from {name}.threads import NotThreadedError, Future as FutureClass
import {name}.chare, {name}.reduction, {name}.threads
assert Charm4PyError('text').message == 'text' and NotThreadedError('text').message == 'text'
assert Reducer is charm.reducers and isinstance(charm.options, Options)
import c4py
assert c4py.charm is charm
print(charm4py_version)
''')
    assert ran.returncode == 0, ran.stderr


def test_the_alias_is_the_very_same_package():
    ran = python('-c', '''
import charm4py, c4py, charm4py.chare, c4py.chare, charm4py.threads
assert charm4py is c4py and charm4py.threads is c4py.threads
import sys
assert sys.modules['charm4py.chare'] is sys.modules['c4py.chare']
try:
    import charm4py.nothing
except ModuleNotFoundError as error:
    print(error)
''')
    assert ran.returncode == 0, ran.stderr
    assert 'nothing' in ran.stdout


def test_before_the_start_there_is_no_pe_and_nothing_works_but_says_so():
    ran = python('-c', '''
from c4py import charm, Chare, Group, Array, Future, Charm4PyError
class C(Chare):
    pass
assert charm.myPe() == charm.numPes() == -1 and not charm.started
for call in (lambda: Group(C), lambda: Array(C, 2), lambda: Chare(C), Future, charm.exit,
             charm.waitQD, lambda: charm.startQD(print),
             lambda: charm.scheduleCallableAfter(print, 1)):
    try:
        call()
    except Charm4PyError as error:
        assert 'start' in str(error), error
    else:
        assert False, 'not raised'
''')
    assert (ran.returncode, ran.stderr) == (0, '')


# ---- ways to start ----

WHO = '''
class Who(Chare):
    def who(self):
        return charm.myPe(), charm.numPes()
def main(args):
    print(Group(Who).who(ret=True).get(), args[1:])
    exit(5)
charm.start(main)
'''


def test_a_program_run_by_the_interpreter_has_one_pe(tmp_path):
    path = tmp_path / 'app.py'
    path.write_text(HEAD + WHO)
    ran = python(path, 'a', 'b')
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "[(0, 1)] ['a', 'b']\n", '')


def test_a_module_run_by_the_interpreter_has_one_pe(tmp_path):
    (tmp_path / 'application.py').write_text(HEAD + WHO)
    ran = python('-m', 'application', 'a', directory=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "[(0, 1)] ['a']\n", '')


def test_a_program_on_the_command_line_has_one_pe():
    ran = python('-c', HEAD + WHO, 'a')
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, "[(0, 1)] ['a']\n", '')


def test_a_program_from_standard_input_cannot_be_started_again_and_says_so():
    ran = python('-', input=HEAD + WHO)
    assert ran.returncode != 0 and 'file' in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize('options, pes', (
    (['+p3', '{app}', 'a'], 3), (['{app}', 'a', '+p3'], 3), (['+p', '2', '{app}', 'a'], 2),
    (['++np', '2', '{app}', 'a'], 2), (['+n', '2', '{app}', 'a'], 2), (['{app}', 'a'], 1),
    (['{app}', 'a', '++local', '+p2', '+libcharm_interface', 'ctypes', '++quiet'], 2)))
def test_charmrun_starts_programs_as_it_did(tmp_path, options, pes):
    path = tmp_path / 'app.py'
    path.write_text(HEAD + WHO)
    ran = python('-m', 'charmrun.start', *[option.format(app=path) for option in options])
    expected = f"{[(pe, pes) for pe in range(pes)]} ['a']\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, expected, '')


def test_charmrun_can_be_called_from_python(tmp_path):
    path = tmp_path / 'app.py'
    path.write_text(HEAD + WHO)
    ran = python('-c', f'from charmrun import start; print(start.start(["+p2", {str(path)!r}]))')
    assert ran.returncode == 0 and ran.stdout.endswith('5\n')


@pytest.mark.parametrize('options, words', (
    (['+p0', 'app.py'], ['+p', '0']), (['+p', 'x', 'app.py'], ['+p', 'x']), (['+p'], ['+p']),
    ([], ['no program']), (['++mpiexec', 'app.py'], ['++mpiexec'])))
def test_charmrun_refuses_bad_options_in_one_line(options, words):
    ran = python('-m', 'charmrun.start', *options)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1
    assert all(word in ran.stderr for word in words)


# ---- main ----

@ALL_PES
def test_main_runs_once_on_pe_0(prints, pes):
    assert prints('''
def main(args):
    print('main on', charm.myPe(), 'of', charm.numPes())
charm.start(main)
''', pes) == f'main on 0 of {pes}\n'


def test_code_behind_start_does_not_run(prints):
    assert prints('def main(args):\n    exit()\ncharm.start(main)\nprint("behind")') == ''


def test_main_is_a_coroutine(prints):
    assert prints('''
def main(args):
    future = Future()
    charm.scheduleCallableAfter(future, 0.01, ['later'])
    print(future.get())
charm.start(main)
''') == 'later\n'


@SOME_PES
def test_main_may_be_an_async_function(prints, pes):
    assert prints('''
class Adder(Chare):
    def add(self, x):
        return x + self.thisIndex
async def main(args):
    await charm.sleep(0.001)
    print(await Group(Adder).add(1, ret=True), args[1:])
    await charm.waitQD()
    exit()
charm.start(main)
''', pes, ['x']) == f"{list(range(1, pes + 1))} ['x']\n"


def test_an_error_in_an_async_main_ends_the_program(fails):
    assert 'ZeroDivisionError' in fails('async def main(args):\n    1 / 0\ncharm.start(main)')


@SOME_PES
def test_main_may_be_a_chare(prints, pes):
    assert prints('''
class Main(Chare):
    def __init__(self, args):
        self.args = args[1:]
        self.told = []
        workers = Group(Worker, args=[self.thisProxy])
        workers.tell()
        charm.waitQD()
        print(self.args, sorted(self.told), hasattr(self, 'thisIndex'))
        for forbidden in (lambda: self.reduce(Future()), lambda: self.allreduce(),
                          lambda: self.contribute(1, Reducer.sum, Future())):
            try:
                forbidden()
            except AttributeError as error:
                assert 'Main' in str(error)
            else:
                print('not refused')
        print(workers[charm.numPes() - 1].ask(ret=True).get())
        Array(Worker, 5, args=[self.thisProxy]).reduce_to_main()
    def tell(self, pe):
        self.told.append(pe)
    def get_args(self):
        return self.args
    def reduced(self, total):
        print('total', total)
        exit()

class Worker(Chare):
    def __init__(self, main):
        self.main = main
    def tell(self):
        self.main.tell(charm.myPe())
    @coro
    def ask(self):
        return self.main.get_args(ret=True).get()
    def reduce_to_main(self):
        self.reduce(self.main.reduced, 1, Reducer.sum)

charm.start(Main)
''', pes, ['a', 'b']) == f"['a', 'b'] {list(range(pes))} False\n['a', 'b']\ntotal 5\n"


def test_the_main_chare_s_proxy_is_named_after_its_class(prints):
    assert prints('''
class Main(Chare):
    def __init__(self, args):
        print(type(self.thisProxy).__name__)
        exit()
charm.start(Main)
''') == 'MainProxy\n'


@pytest.mark.parametrize('entry, words', (
    ('lambda: 0', ['exactly one parameter']), ('lambda a, b: 0', ['exactly one parameter']),
    ('NoInit', ['NoInit', 'exactly one parameter']), ('Two', ['Two', 'exactly one parameter']),
    ('int', ['int']), ('5', ['AssertionError']), ('None', ['AssertionError'])))
def test_a_wrong_entry_is_refused_before_anything_starts(fails, entry, words):
    err = fails(f'''
class NoInit(Chare):
    pass
class Two(Chare):
    def __init__(self, args, more):
        pass
charm.start({entry})
''')
    assert all(word in err for word in words)


def test_a_second_start_is_refused(prints):
    assert 'once' in prints('''
def main(args):
    try:
        charm.start(main)
    except Exception as error:
        print(type(error).__name__, error)
    exit()
charm.start(main)
''')


def test_interactive_mode_is_not_there_yet_and_says_so(fails):
    assert 'interactive' in fails('charm.start(lambda args: 0, interactive=True)')


def test_a_program_without_start_is_told(run_program):
    ran = run_program('import c4py', 2)
    assert 'charm.start()' in ran.stderr


def test_classes_and_modules_may_be_given(prints, tmp_path):
    (tmp_path / 'one.py').write_text('from c4py import Chare\nclass One(Chare):\n'
                                     '    def one(self):\n        return 1')
    (tmp_path / 'two.py').write_text('from c4py import Chare\nclass Two(Chare):\n'
                                     '    def two(self):\n        return 2')
    assert prints('''
import one
def main(args):
    import two
    print(Group(one.One).one(ret=True).get(), Group(two.Two).two(ret=True).get())
    exit()
charm.start(main, classes=[one.One], modules=['two'])
''') == '[1, 1] [2, 2]\n'


@pytest.mark.parametrize('call, words', (
    ('charm.start(main, classes=[int])', ['Charm4PyError', 'int']),
    ('charm.start(main, modules=["no_such_module"])', ['no_such_module'])))
def test_classes_and_modules_that_are_none_are_refused(fails, call, words):
    err = fails(f'def main(args):\n    exit()\n{call}')
    assert all(word in err for word in words)


# ---- arguments ----

def test_main_gets_the_arguments_without_the_runtime_s_options(prints):
    out = prints('''
def main(args):
    print(args[0] == sys.argv[0], args[1:])
    exit()
sys.argv += ['added', '++quiet', '+p7', '+foo', '++bar']
charm.start(main)
''', 2, ['a', '+p4', '++local', '-x', '+libcharm_interface', 'cython', '--', '+', 'b c'])
    assert out == "True ['a', '-x', '--', '+', 'b c', 'added', '+foo', '++bar']\n"


def test_quiet_is_an_option_of_the_command_line_too(prints):
    assert prints('''
def main(args):
    print(charm.options.quiet, args[1:])
    exit()
charm.start(main)
''', 2, ['++quiet']) == 'True []\n'


# ---- options ----

def test_options_have_their_defaults_and_can_be_listed():
    ran = python('-c', 'from c4py import charm; print(charm.options)')
    assert ran.stdout.splitlines() == [
        'local_msg_optim: False', 'local_msg_buf_size: 50', 'pickle_protocol: -1',
        'profiling: False', 'quiet: False',
        'remote_exec: False', 'auto_flush_wait_queues: True']


@pytest.mark.parametrize('name, value', (('no_such', 1), ('LOCAL_MSG_OPTIM', True),
                                         ('pickle_protocol', 6), ('pickle_protocol', 'x'),
                                         ('profiling', True)))
def test_wrong_options_are_refused_with_what_is_right(fails, name, value):
    err = fails(f'charm.options.{name} = {value!r}\ncharm.start(lambda args: exit())')
    assert 'Charm4PyError' in err and name in err


def test_the_pickle_protocol_can_be_chosen(prints):
    assert prints('''
class Spy:
    def __reduce_ex__(self, protocol):
        return int, (protocol,)
class Echo(Chare):
    def echo(self, value):
        return value
charm.options.pickle_protocol = 3
def main(args):
    print(Chare(Echo, onPE=1).echo(Spy(), ret=True).get())
    exit()
charm.start(main)
''') == '3\n'


# ---- PEs and hosts ----

def dealt(pes, nodes):
    """The PEs of each node: all have the same number of them, or one more."""
    if nodes == 0:
        return []
    mine = -(-pes // nodes)
    return [list(range(mine))] + [[mine + pe for pe in node]
                                  for node in dealt(pes - mine, nodes - 1)]


@SOME_PES
@pytest.mark.parametrize('nodes', (1, 2, 3))
def test_pes_and_hosts_can_be_asked_for(prints, pes, nodes):
    hosts = dealt(pes, min(nodes, pes))
    assert prints(f'HOSTS = {hosts}' '''
class Asker(Chare):
    def ask(self):
        pe = charm.myPe()
        return (pe, charm.numPes(), charm.myHost(), charm.numHosts(), charm.getHostPes(0),
                charm.getHostFirstPe(0), charm.getHostNumPes(0), charm.getPeHost(pe),
                charm.getPeHostRank(pe))
def main(args):
    n = charm.numPes()
    hosts = HOSTS
    assert sum(hosts, []) == list(range(n)) and charm.numHosts() == len(hosts)
    answers = Group(Asker).ask(ret=True).get()
    for host, pes in enumerate(hosts):
        assert charm.getHostPes(host) == pes and charm.getHostFirstPe(host) == pes[0]
        assert charm.getHostNumPes(host) == len(pes)
        for rank, pe in enumerate(pes):
            assert answers[pe] == (pe, n, host, len(hosts), hosts[0], 0, len(hosts[0]), host, rank)
    for bad in (lambda: charm.getHostPes(len(hosts)), lambda: charm.getPeHost(n),
                lambda: charm.getPeHost(-1)):
        try:
            bad()
        except IndexError as error:
            print(error)
    exit()
charm.start(main)
''', pes, options=('--nodes', len(hosts))).count('\n') == 3


# ---- readonlies ----

@ALL_PES
@pytest.mark.parametrize('module', ('c4py', 'charm4py'))
def test_readonlies_set_before_main_suspends_are_seen_before_any_message(prints, pes, module):
    assert prints(f'''
import numpy
from {module} import readonlies
class Reader(Chare):
    def __init__(self):
        self.seen = readonlies.number, readonlies.array.sum(), readonlies.group_of_mine
    def read(self):
        return self.seen, sorted(vars(readonlies)), readonlies.number
class Other(Chare):
    pass
def main(args):
    readonlies.number = 5
    readonlies.array = numpy.arange(1000)
    readonlies.group_of_mine = mine = Group(Other)
    readonlies._hidden = readonlies.hidden_ = 1
    group = Group(Reader)
    array = Array(Reader, 2 * charm.numPes())
    values = group.read(ret=True).get() + array.read(ret=True).get()
    readonlies.number = 6
    later = group.read(ret=True).get()
    for i, (seen, names, number) in enumerate(values):
        assert seen == (5, 499500, mine)
        if charm.numPes() > 1 and i == 1:
            assert names == ['array', 'group_of_mine', 'number'], names
    print([number for _, _, number in values], [number for _, _, number in later])
    exit()
charm.start(main)
''', pes) == f'{[5] * 3 * pes} {[6] + [5] * (pes - 1)}\n'


def test_readonlies_work_for_a_main_chare(prints):
    assert prints('''
from c4py import readonlies
class Main(Chare):
    def __init__(self, args):
        readonlies.main = self.thisProxy
        Group(Reader)
        charm.waitQD()
        exit()
    def tell(self, pe):
        print(pe)
class Reader(Chare):
    def __init__(self):
        readonlies.main.tell(charm.myPe())
charm.start(Main)
''', 1) == '0\n'


# ---- globals, exec and eval ----

@ALL_PES
def test_globals_can_be_updated_on_all_pes_or_one(prints, pes, tmp_path):
    (tmp_path / 'settings.py').write_text('x = 1')
    assert prints('''
import numpy, settings
value = 0
class Reader(Chare):
    def read(self):
        return value, settings.x
    def read_array(self):
        return float(array.sum())
def main(args):
    last = charm.numPes() - 1
    group = Group(Reader)
    charm.thisProxy.updateGlobals({'value': 5, 'array': numpy.ones(10000)}, awaitable=True).get()
    charm.thisProxy[last].updateGlobals({'x': 7}, 'settings', awaitable=True).get()
    charm.thisProxy[last].updateGlobals({'x': 8}, module_name='settings', awaitable=True).get()
    assert group.read(ret=True).get() == [(5, 1)] * last + [(5, 8)]
    assert group.read_array(ret=True).get() == [10000.] * charm.numPes()
    print('done')
    exit()
charm.start(main)
''', pes) == 'done\n'


@ALL_PES
def test_code_can_be_executed_and_evaluated_remotely_if_that_is_on(prints, pes):
    assert prints('''
charm.options.remote_exec = True
value = 5
def main(args):
    n = charm.numPes()
    assert charm.thisProxy.eval('value + charm.myPe()', ret=True).get() == [
        5 + pe for pe in range(n)]
    charm.thisProxy.exec('value = 10 * charm.myPe()', awaitable=True).get()
    assert charm.thisProxy[n - 1].eval('value', ret=True).get() == 10 * (n - 1)
    charm.thisProxy[n - 1].rexec('def f():\\n    return value', awaitable=True).get()
    assert charm.thisProxy[n - 1].eval('f()', ret=True).get() == 10 * (n - 1)
    charm.thisProxy.exec('y = 3', 'string', awaitable=True).get()
    assert charm.thisProxy.eval('y', 'string', ret=True).get() == [3] * n
    try:
        charm.thisProxy[n - 1].eval('no_such_name', ret=True).get()
    except NameError as error:
        print(error)
    exit()
charm.start(main)
''', pes) == "name 'no_such_name' is not defined\n"


@SOME_PES
def test_without_the_option_nothing_is_executed(prints, pes):
    out = prints('''
from c4py.charm import Charm4PyError
value = 5
def main(args):
    for call in (charm.thisProxy[charm.numPes() - 1].exec, charm.thisProxy[0].eval,
                 charm.thisProxy[0].rexec):
        try:
            call('value', ret=True).get()
        except Charm4PyError as error:
            print(error.message)
    exit()
charm.start(main)
''', pes)
    assert out.count('remote_exec') == 3


def test_the_runtimes_can_be_asked_for_their_pe(prints):
    assert prints('''
def main(args):
    print(charm.thisProxy.myPe(ret=True).get(), charm.thisProxy[1].myPe(ret=True).get())
    exit()
charm.start(main)
''', 3) == '[0, 1, 2] 1\n'


def test_a_module_may_be_imported_where_it_is_needed(prints, tmp_path):
    (tmp_path / 'late.py').write_text('from c4py import Chare\nclass Late(Chare):\n'
                                      '    def where(self):\n        return __name__')
    assert prints('''
def main(args):
    import late
    print(Group(late.Late).where(ret=True).get())
    exit()
charm.start(main)
''', 3) == "['late', 'late', 'late']\n"


def test_a_class_of_a_module_that_others_cannot_import_is_told(fails):
    err = fails('''
import types
def main(args):
    module = types.ModuleType('only_here')
    sys.modules['only_here'] = module
    exec('from c4py import Chare\\nclass Local(Chare):\\n    pass', vars(module))
    Group(module.Local)
    Future().get()
charm.start(main)
''')
    assert 'only_here.Local' in err.splitlines()[-1]
