"""Messages of one PE to one chare arrive in the order in which they were sent."""

import pytest

# PE 1 makes a class that no other PE knows. What it sends meanwhile has to wait elsewhere until the
# class has come: because the chare is not there, or because an argument cannot be read.
PROGRAM = '''
from c4py import Array, Chare, Group, charm, coro

class Known(Chare):
    def __init__(self):
        self.notes = []
    def note(self, number, what=None):
        self.notes.append(number)
    def noted(self):
        return self.notes

class Maker(Chare):
    @coro
    def make(self, target):
        class Unknown(Known):
            pass
        group = Group(Unknown)
        target = {target}
        for number in range(300):
            target.note(number, {argument})
            if number % 3 == 0:
                charm.thisProxy[charm.myPe()].myPe(ret=True).get()
        return target.noted(ret=True).get()

def main(args):
    maker = Chare(Maker, onPE=1)
    target = Chare(Known, onPE=0)
    print(maker.make(target, ret=True).get() == list(range(300)))
    exit()

charm.start(main)
'''


@pytest.mark.parametrize('target, argument', [
    ('group[0]', 'None'),
    ('target', 'group if number % 7 == 0 else None'),
], ids=['the chare is not there yet', 'an argument cannot be read yet'])
def test_messages_that_wait_for_a_class_are_not_overtaken(run_program, target, argument):
    result = run_program(PROGRAM.format(target=target, argument=argument), pes=2)
    assert result.stdout == 'True\n', result
