"""Programs that nest without end are told so, and neither crash nor hang."""

import pytest

CONSTRUCTORS = '''
from c4py import Chare, charm, coro

class Again(Chare):
    {decorator}
    def __init__(self):
        Chare(Again, onPE=0)

charm.start(lambda args: Chare(Again, onPE=0))
'''


@pytest.mark.parametrize('decorator', ['', '@coro'])
def test_a_constructor_that_creates_its_own_class_ends_with_a_recursion_error(run_program,
                                                                              decorator):
    result = run_program(CONSTRUCTORS.replace('{decorator}', decorator), pes=1)
    assert result.returncode == 1, result
    assert 'PE 0: RecursionError: maximum recursion depth exceeded' in result.stderr, result


PICKLING = '''
import pickle
from c4py import Chare, Group, charm

class SendsItself:
    def __init__(self, group):
        self.group = group
    def __reduce__(self):
        self.group.take(self)
        return int, ()

class Taker(Chare):
    def take(self, what):
        pass

def main(args):
    group = Group(Taker)
    try:
        group.take(SendsItself(group))
    except pickle.PicklingError as error:
        print('maximum recursion depth exceeded' in str(error))
    group.take(1, awaitable=True).get()
    exit()

charm.start(main)
'''


def test_an_argument_whose_pickling_sends_it_again_is_refused(run_program):
    result = run_program(PICKLING, pes=1)
    assert (result.returncode, result.stdout) == (0, 'True\n'), result
