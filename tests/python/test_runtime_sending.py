"""Messages that cannot be sent, and what pickling them may do."""

import pytest

# PE 1 does not look at its messages until it is let go, so that those of PE 0 fill its region but
# for two blocks, which messages to PE 0 itself have given back.
FULL_REGION = '''
import os, sys
from c4py import Chare, Group, SegmentFullError, _c4py, charm

GATE = sys.argv[1]

class Eater(Chare):
    def __init__(self):
        self.calls = 0
    def pause(self):
        while not os.path.exists(GATE):
            pass
    def eat(self, data):
        self.calls += 1
    def eaten(self):
        return self.calls

def fill(group, data):
    try:
        while True:
            group[1].eat(data)
    except SegmentFullError:
        pass

def empty():
    for _ in range(5000):       # PEs give blocks back when they have nothing else to do
        if _c4py.segment_used() == 0:
            return True
        charm.sleep(0.001)

def main(args):
    group = Group(Eater)
    charm.awaitCreation(group)
    group[1].pause()
    data = bytes({size})
    small = b''
    for _ in range(2):
        group[0].eat(data)
        group[0].eat(small)
    fill(group, data)
    fill(group, small)
    charm.sleep(0)
    try:
        future = group.eat(data, {how})
        print('sent')
    except SegmentFullError:
        print('refused')
    open(GATE, 'w').close()
    charm.waitQD()
    calls = group.eaten(ret=True).get()
    print(calls[0], calls[2:], empty())
    group.eat(data, awaitable=True).get()
    print([after - was for after, was in zip(group.eaten(ret=True).get(), calls)])
    exit()

charm.start(main)
'''


@pytest.mark.parametrize('size', [900, 2000])
@pytest.mark.parametrize('how', ['ret=True', 'awaitable=False'])
def test_a_broadcast_without_room_reaches_nobody_and_the_program_goes_on(run_program, tmp_path,
                                                                         size, how):
    result = run_program(FULL_REGION.format(size=size, how=how), pes=4,
                         args=[tmp_path / 'gate'], options=['--segment-size', '8M'])
    assert result.stdout.splitlines() == ['refused', '4 [0, 0] True', '[1, 1, 1, 1]'], result


PICKLING_WAITS = '''
import threading
from c4py import Chare, Group, charm, coro

class Asks:
    """Something whose pickling asks another chare, and waits for the answer."""
    def __init__(self, other, number):
        self.other, self.number = other, number
    def __reduce__(self):
        return tuple, ([self.other.same(self.number, ret=True).get()] * 1000,)

class Slow:
    """Something whose pickling lets other threads run."""
    def __reduce__(self):
        threading.Event().wait(0.0001)
        return str, ()

class Worker(Chare):
    def same(self, number):
        return number
    def take(self, asked, text, number):
        return asked, text, number
    def count(self, slow, text, number):
        assert text == str(number) * 5
        self.seen = getattr(self, 'seen', 0) + 1
    def counted(self):
        return self.seen
    @coro
    def work(self, number, group):
        for i in range(50):
            asks = Asks(group[(number * 7 + i) % 2], number)
            answer = group[(number + i) % 2].take(asks, 'text' * number, number, ret=True).get()
            assert answer == ((number,) * 1000, 'text' * number, number)
        return number

def send_many(target):
    for i in range(200):
        target.count(Slow(), str(i) * 5, i)

def main(args):
    group = Group(Worker)
    charm.awaitCreation(group)
    futures = [group[number % 2].work(number, group, ret=True) for number in range(10)]
    print([future.get() for future in futures])
    threads = [threading.Thread(target=send_many, args=(group[1],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    send_many(group[1])
    for thread in threads:
        thread.join()
    charm.waitQD()
    print(group[1].counted(ret=True).get())
    exit()

charm.start(main)
'''


def test_pickling_may_wait_and_other_senders_go_on_meanwhile(run_program):
    result = run_program(PICKLING_WAITS)
    assert result.stdout.splitlines() == [str(list(range(10))), '1000'], result
