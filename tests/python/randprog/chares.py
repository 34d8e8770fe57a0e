"""The classes that random programs are made of.

The first argument of most methods is the caller's lane: each script has one, and its messages to a
chare are numbered by the order in which they were sent, as the oracle knows it.
"""

import gc

from c4py import Chare, Future, _c4py, charm, coro

from .actor import Actor, drive, drive_async, reducer_named
from .pieces import piece
from .values import NOTHING, bag, canonical, salt_of, twist


class Worker(Chare):
    """A chare whose constructor is a plain one."""

    offset = 0

    def __init__(self, tag, value, report=None, specs=()):
        self.prepare(tag, value, report, specs)

    def prepare(self, tag, value, report, specs):
        """All that must be there before messages come."""
        self.tag = tag
        self.salt = salt_of(self.thisIndex) + self.offset
        self.seen = {}          # lane -> what its messages were, in order of arrival
        self.total = 0
        self.hops = []
        self.collected = []
        self.queue = []         # reductions that are still to be contributed to
        self.contributed = []   # our own data, and what it was
        self.kept = []
        self.constructed = False
        for spec in specs:
            self.queue.append(spec)
            self.contribute_next()
        self.finish_construction(value, report)

    def finish_construction(self, value, report):
        self.constructed = True
        if report is not None:
            report((self.thisIndex, twist(value, self.salt)))

    def myself(self):
        """Proxy of this element."""
        proxy = self.thisProxy
        return proxy if proxy.elemIdx == self.thisIndex else proxy[self.thisIndex]

    def note(self, lane, what):
        """What has come; broadcasts to elements that move are counted by themselves."""
        self.seen.setdefault(lane if what >= 0 else -lane, []).append(what)

    # ---- plain calls ----

    def work(self, lane, sequence, a, b=7, *rest, c=None, **more):
        self.note(lane, sequence)
        self.total += sequence
        return self.answer(a, b, rest, c, more)

    def answer(self, a, b, rest, c, more):
        return (twist(a, self.salt), twist(b, self.salt), [twist(item, 1) for item in rest],
                twist(c, self.salt), {name: twist(item, 2) for name, item in more.items()})

    @coro
    def work_coro(self, lane, sequence, pauses, a, b=7, *rest, c=None, **more):
        self.note(lane, sequence)
        for pause in pauses:
            if pause is None:
                self.myself().echo(lane, None, ret=True).get()
            else:
                charm.sleep(pause)
        self.total += sequence
        return self.answer(a, b, rest, c, more)

    async def work_async(self, lane, sequence, pauses, a, b=7, *rest, c=None, **more):
        self.note(lane, sequence)
        for pause in pauses:
            if pause is None:
                await self.myself().echo(lane, None, ret=True)
            else:
                await charm.sleep(pause)
        self.total += sequence
        return self.answer(a, b, rest, c, more)

    def echo(self, lane, value):
        return value

    def acquaint(self, lane, first, others):
        return [first] + list(others.values())

    def scribble(self, lane, value):
        result = twist(value, self.salt)
        result = result.copy()
        value[...] = value[::-1].copy()
        return result

    @coro
    def scribble_alone(self, lane, value):
        """As scribble(), where no other chare of this PE has the same argument."""
        result = self.scribble(lane, value)
        value[...] = value.reshape(-1)[self.salt % value.size]
        before = canonical(value)
        self.myself().echo(lane, None, ret=True).get()
        return result, canonical(value) == before

    def fail(self, lane, sequence, text, culprit):
        """Raise in one element."""
        self.note(lane, sequence)
        return self.fail_perhaps(text, culprit)

    def fail_perhaps(self, text, culprit):
        if culprit == self.thisIndex:
            raise ValueError(f'{text} {self.thisIndex}')
        return text

    @coro
    def fail_coro(self, lane, sequence, text, culprit):
        self.note(lane, sequence)
        self.myself().echo(lane, None, ret=True).get()
        return self.fail_perhaps(text, culprit)

    # ---- moving ----

    def wander(self, lane, pes, more):
        """Move on, unless a coroutine needs us, or a future of ours that is read here."""
        reading = any(name.startswith(('late', 'shared')) and name != 'shared'
                      for name in vars(self))
        if self._numthreads == 0 and not reading:
            self.migrate(pes[(self.salt + more) % len(pes)])
        if more:
            self.myself().wander(lane, pes, more - 1)

    def migrated(self):
        assert self.myself().elemIdx == self.thisIndex

    # ---- passing things on ----

    def hop(self, lane, chain, position, rest, value, future):
        self.hops.append((chain, position))
        value = twist(value, self.salt)
        if rest:
            rest[0].hop(lane, chain, position + 1, rest[1:], value, future)
        elif future is not None:
            future(value)

    def hops_of(self, lane, chain):
        return sorted(position for known, position in self.hops if known == chain)

    def call_back(self, lane, function, value):
        function(twist(value, self.salt))

    def collect(self, value=NOTHING):
        self.collected.append(value)

    def keep(self, lane, future):
        self.kept.append(future)

    def release_kept(self):
        kept, self.kept = self.kept, []
        for future in kept:
            future('quiet')

    def seen_of(self, lane):
        return list(self.seen.get(lane, []))

    def shared_global(self, lane, name):
        return globals()[name]

    # ---- a future with several readers ----

    @coro
    def share(self, lane, readers, chain, value):
        """Readers, each (kind, timeout or None), of a future that comes through other chares."""
        self.shared = getattr(self, 'shared', 0) + 1
        key = f'shared{self.shared}'
        future = Future()
        setattr(self, key, future)
        futures = [getattr(self.myself(), kind)(key, timeout, ret=True)
                   for kind, timeout in readers]
        if chain:
            chain[0].hop(lane, None, 0, chain[1:], value, future)
        else:
            future.send(value)
        values = [reading.get() for reading in futures] + [future.get()]
        delattr(self, key)
        return values

    @coro
    def read(self, key, timeout):
        future = getattr(self, key)
        if timeout is not None:
            try:
                return future.get(timeout=timeout)
            except TimeoutError:
                pass            # it was not there in time: now without hurry
        return future.get()

    @coro
    def give_up(self, lane, key, timeout):
        """Read a future that comes too late for this coroutine."""
        future = Future()
        setattr(self, key, future)
        try:
            return future.get(timeout=timeout)
        except TimeoutError:
            self.myself().echo(lane, None, ret=True).get()
            return 'given up'

    def send_late(self, lane, key, value):
        getattr(self, key).send(value)

    @coro
    def read_late(self, lane, key):
        value = getattr(self, key).get()
        delattr(self, key)
        return value

    async def read_async(self, key, timeout):
        return await getattr(self, key)

    # ---- reductions ----

    def contribute_next(self):
        if self.queue:
            *spec, callback = self.queue.pop(0)
            self.reduce(callback, self.piece(spec), reducer_named(spec[0]))

    def piece(self, spec):
        """Our data for a reduction, which nobody may change."""
        data = piece(spec, self.salt)
        self.contributed.append((data, canonical(data)))
        return data

    def reductions(self, lane, specs, pace):
        """Contribute now, some later, or by messages to oneself; all elements in the same order."""
        self.queue.extend(specs)
        for i in range(len(specs)):
            if (pace + self.salt + i) % 3 == 0:
                self.contribute_next()
            else:
                self.myself().pump()

    def pump(self):
        self.contribute_next()

    def agreements(self, specs):
        """Contribute to allreduces; what came before must be contributed before."""
        while self.queue:
            self.contribute_next()
        return [self.allreduce(self.piece(spec), reducer_named(spec[0])) for spec in specs]

    @coro
    def agree(self, lane, specs, order):
        futures = self.agreements(specs)
        values = {i: futures[i].get() for i in order}
        return [values[i] for i in range(len(specs))]

    async def agree_async(self, lane, specs, order):
        futures = self.agreements(specs)
        values = {i: await futures[i] for i in order}
        return [values[i] for i in range(len(specs))]

    # ---- scripts ----

    @coro
    def relay(self, lane, own_lane, proxies, script):
        return drive(Actor(own_lane, proxies).run(script))

    async def relay_async(self, lane, own_lane, proxies, script):
        return await drive_async(Actor(own_lane, proxies).run(script))

    # ---- the end ----

    def state(self):
        return {
            'index': self.thisIndex, 'tag': self.tag, 'pe': charm.myPe(), 'total': self.total,
            'seen': self.seen, 'hops': bag(hop for hop in self.hops if hop[0] is not None),
            'collected': bag(self.collected), 'constructed': self.constructed,
            'left': [len(self.queue), len(self.kept), self._numthreads],
            'untouched': all(canonical(data) == before for data, before in self.contributed),
        }

    def forget(self):
        self.seen, self.hops, self.collected, self.contributed = {}, [], [], []


class Witness(Chare):
    """Looks at what a PE still has."""

    def clean(self):
        for name in [name for name in globals() if name.startswith('global_')]:
            del globals()[name]
        gc.collect()

    def used(self):
        """Bytes of the segment that this PE's messages take; gives others' back."""
        return _c4py.segment_used()


class Slow(Worker):
    """A chare whose constructor waits."""

    offset = 1000

    @coro
    def __init__(self, tag, value, report=None, specs=()):
        self.prepare(tag, value, None, specs)
        self.constructed = False
        self.myself().echo(None, tag, ret=True).get()
        charm.sleep(0)
        self.finish_construction(value, report)


class Heir(Slow):
    """A chare that inherits its methods, and whose constructor calls another one's."""

    offset = 2000

    def __init__(self, *args):
        Worker.__init__(self, *args)

    def work(self, lane, sequence, *args, **keywords):
        return super().work(lane, sequence, *args, **keywords)


_dynamic = {}


def class_named(name):
    """A class of this module, or one that is made now and that no other PE knows."""
    if not name.startswith('Dynamic'):
        return globals()[name]
    if name not in _dynamic:
        _dynamic[name] = type(name, (Worker,), {'offset': 3000, '__module__': '__main__'})
    return _dynamic[name]
