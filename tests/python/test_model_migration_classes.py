"""Chares that move, and classes that their new PE does not know yet: messages keep their order."""

from c4py import Array, Chare, charm

from model import check, start_checks


class Walker(Chare):
    def __init__(self):
        self.notes = []
        self.other = None

    def note(self, value):
        self.notes.append(value)

    def remember(self, other):
        self.other = other
        self.notes.append('other')

    def go(self, *pes):
        """The last one counts."""
        for pe in pes:
            self.migrate(pe)

    def report(self):
        return charm.myPe(), self.notes


def make_class():
    """A class that only this PE knows."""
    class Secret(Walker):
        pass
    return Secret


def last():
    return charm.numPes() - 1


@check(pes=(2, 3))
def test_a_chare_moves_to_a_pe_that_does_not_know_its_class():
    for _ in range(10):
        chare = Chare(make_class(), onPE=0)
        chare.migrate(last())
        for value in range(20):
            chare.note(value)
        assert chare.report(ret=True).get() == (last(), list(range(20)))


@check(pes=(2, 3))
def test_what_is_behind_a_chare_waits_with_it_for_a_class_that_its_state_names():
    for _ in range(10):
        walkers = Array(Walker, 3)
        walkers[0].remember(Chare(make_class(), onPE=0))
        walkers[0].migrate(last())
        for value in range(20):
            walkers[0].note(value)
        assert walkers[0].report(ret=True).get() == (last(), ['other', *range(20)])


@check(pes=(2, 3, 4))
def test_a_chare_does_not_leave_before_a_message_that_waits_for_a_class():
    for _ in range(10):
        chare = Chare(Walker, onPE=1)
        chare.go(last())
        assert chare.report(ret=True).get() == (last(), [])
        chare.remember(Chare(make_class(), onPE=0))
        chare.note(1)
        chare.go(0)
        for value in range(2, 20):
            chare.note(value)
        assert chare.report(ret=True).get() == (0, ['other', *range(1, 20)])


@check(pes=(2, 3, 4))
def test_a_chare_that_is_asked_to_leave_and_then_to_stay_stays_with_its_messages():
    chare = Chare(Walker, onPE=0)
    expected = []
    for step in range(20):
        pe = step % charm.numPes()
        chare.go(pe)
        chare.note((step, 0))
        chare.go((pe + 1) % charm.numPes(), pe)
        for value in range(1, 20):
            chare.note((step, value))
        expected += [(step, value) for value in range(20)]
        assert chare.report(ret=True).get() == (pe, expected)


if __name__ == '__main__':
    start_checks()
