"""Messages of one sender to one chare arrive in the order in which they were sent (SPEC 3.4)."""

import numpy

from c4py import Array, Chare, Future, Group, charm, coro

from model import check, start_checks

# Small ones in the message, one that a broadcast shares, one that stays in the segment.
PAYLOADS = [None, 5, 'x' * 100, b'y' * 2000, numpy.zeros(100), numpy.zeros(20000), [1, {2: 'z'}]]


class Receiver(Chare):
    def __init__(self, slow=False):
        self.seen = []
        if slow:
            sum(range(20000))

    def note(self, sender, number, payload=None):
        self.seen.append((sender, number))

    @coro
    def note_in_coroutine(self, sender, number, payload=None):
        self.seen.append((sender, number))
        charm.sleep(0)

    async def note_in_async(self, sender, number, payload=None):
        self.seen.append((sender, number))
        await charm.sleep(0)

    def take_seen(self):
        seen, self.seen = self.seen, []
        return seen


class Sender(Chare):
    def send_all(self, targets, count, done):
        for i in range(count):
            for target in targets:
                payload = PAYLOADS[(i + self.thisIndex) % len(PAYLOADS)]
                method = (target.note, target.note_in_coroutine, target.note_in_async)[i % 3]
                method(self.thisIndex, i, payload)
        done.send()

    @coro
    def send_with_futures(self, targets, count, done):
        futures = []
        for i in range(count):
            for target in targets:
                if i % 2:
                    target.note(self.thisIndex, i, payload=i)
                else:
                    futures.append(target.note(self.thisIndex, i, ret=True))
        charm.wait(futures)
        done.send()

    def create_and_tell(self, others, count, done):
        array = Array(Receiver, 2 * charm.numPes(), args=[True])
        others.fill(array, self.thisIndex, count, done)

    def fill(self, array, creator, count, done):
        for i in range(count):
            array.note(self.thisIndex, i)
            array[2 * charm.numPes() - 1].note(self.thisIndex + 1000, i)
            array[0].note(self.thisIndex + 1000, i)
        done.send(array)


def in_order(seen, senders, count):
    """Every sender's messages are complete and in order."""
    for sender in senders:
        numbers = [number for source, number in seen if source == sender]
        assert numbers == list(range(count)), (sender, numbers)
    assert len(seen) == len(senders) * count
    return True


def targets():
    last = charm.numPes() - 1
    return [Group(Receiver)[last], Array(Receiver, 3)[0], Array(Receiver, (2, 2))[1, 1],
            Chare(Receiver, onPE=0), Chare(Receiver, onPE=last)]


@check
def test_messages_of_many_senders_stay_in_order_each():
    senders, receivers = Group(Sender), targets()
    done = Future(charm.numPes() + 1)
    senders.send_all(receivers, 200, done)
    done.send()
    done.get()
    charm.waitQD()
    for receiver in receivers:
        in_order(receiver.take_seen(ret=True).get(), range(charm.numPes()), 200)


@check
def test_calls_with_and_without_futures_stay_in_order():
    senders, receivers = Group(Sender), targets()
    done = Future(charm.numPes() + 1)
    senders.send_with_futures(receivers, 100, done)
    done.send()
    done.get()
    charm.waitQD()
    for receiver in receivers:
        in_order(receiver.take_seen(ret=True).get(), range(charm.numPes()), 100)


@check
def test_broadcasts_and_calls_of_one_sender_stay_in_order():
    for collection in (Group(Receiver), Array(Receiver, 2 * charm.numPes() + 1)):
        shape, = collection.shape
        for i in range(300):
            payload = PAYLOADS[i % len(PAYLOADS)]
            if i % 3:
                collection.note(0, i, payload)
            else:
                for index in range(shape):
                    collection[index].note(0, i, payload)
        for seen in collection.take_seen(ret=True).get():
            in_order(seen, [0], 300)


@check
def test_what_comes_before_its_chares_exist_is_kept_in_order():
    senders = Group(Sender)
    for _ in range(20):
        for creator in range(charm.numPes()):
            done = Future(charm.numPes() + 1)
            senders[creator].create_and_tell(senders, 10, done)
            done.send(None)
            array = next(value for value in done.get() if value is not None)
            charm.waitQD()
            seen = array.take_seen(ret=True).get()
            pes = list(range(charm.numPes()))
            told_twice = pes + [1000 + pe for pe in pes]
            in_order(seen[0], told_twice, 10)
            in_order(seen[-1], told_twice, 10)
            for others in seen[1:-1]:
                in_order(others, pes, 10)


@check
def test_values_of_one_sender_reach_a_future_in_order():
    class Giver(Chare):
        def give(self, future, count):
            for i in range(count):
                future.send((i, PAYLOADS[i % len(PAYLOADS)]))

    for pe in range(charm.numPes()):
        future = Future(100)
        Chare(Giver, onPE=pe).give(future, 100)
        assert [number for number, _ in future.get()] == list(range(100))


if __name__ == '__main__':
    start_checks()
