"""Carries out the statements of a program: in main, or in a chare's coroutine.

An actor's steps are a generator that yields what it has to wait for, so that the same code runs
in a @coro method (drive) and in an `async def` one (drive_async).  A target is (name, index):
the name of a collection, and the index of an element or None for all; a single chare has None.
"""

from c4py import CancelledError, Array, Chare, Future, Group, Reducer, charm

from .values import bag, canonical

LONG = 60       # seconds: a timeout that does not pass


def _wait(what, *args):
    if what == 'get':
        return args[0].get()
    if what == 'get in time':
        return args[0].get(timeout=args[1])
    if what == 'all':
        return charm.wait(args[0])
    if what == 'each':
        return list(charm.iwait(args[0]))
    if what == 'sleep':
        return charm.sleep(args[0])
    if what == 'quiet':
        return charm.waitQD()
    return charm.awaitCreation(*args[0])


async def _wait_async(what, *args):
    if what == 'get':
        return await args[0]
    if what == 'all':
        return await charm.wait(args[0])
    if what == 'sleep':
        return await charm.sleep(args[0])
    if what == 'quiet':
        return await charm.waitQD()
    return await charm.awaitCreation(*args[0])


def drive(steps):
    """Run steps in a @coro method."""
    try:
        request = next(steps)
        while True:
            try:
                value = _wait(*request)
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(value)
    except StopIteration as stop:
        return stop.value


async def drive_async(steps):
    """Run steps in an `async def` method."""
    try:
        request = next(steps)
        while True:
            try:
                value = await _wait_async(*request)
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(value)
    except StopIteration as stop:
        return stop.value


def raised(error):
    """What is reported of an exception that came from another chare."""
    pe = getattr(error, 'remote_stacktrace', (None,))[0]
    return ['raised', type(error).__name__, str(error), pe]


class Actor:
    """Carries out one script."""

    def __init__(self, lane, proxies):
        self.lane = lane
        self.proxies = dict(proxies)    # name -> proxy
        self.created = {}               # those that this script has made
        self.futures = {}               # slot -> future
        self.results = []               # (statement, value)

    def run(self, script):
        """The steps of a script; their outcome is what run() of another actor takes over."""
        for number, operation, *details in script:
            steps = getattr(self, 'do_' + operation)(number, *details)
            if steps is not None:
                yield from steps
        return self.results, self.created

    def target(self, target):
        name, index = target
        proxy = self.proxies[name]
        return proxy if index is None else proxy[index]

    def report(self, number, value):
        self.results.append((number, value))

    # ---- creating ----

    def do_create(self, number, name, kind, class_name, dims, pe, tag, value, slot, specs):
        from . import chares
        cls = chares.class_named(class_name)
        args = [tag, value, self.futures.get(slot), [self.spec(spec) for spec in specs]]
        if kind == 'group':
            proxy = Group(cls, args=args)
        elif kind == 'array':
            proxy = Array(cls, dims, args=args)
        else:
            proxy = Chare(cls, args=args, onPE=pe)
        self.proxies[name] = self.created[name] = proxy

    def do_created(self, number, names):
        yield 'creation', [self.proxies[name] for name in names]

    # ---- calling ----

    def do_call(self, number, target, method, args, keywords, mode, slot):
        """mode: None, 'ret' or 'awaitable'; the future goes into the slot."""
        options = {mode: True} if mode else {}
        future = getattr(self.target(target), method)(self.lane, *args, **keywords, **options)
        assert (future is None) == (mode is None)
        if mode:
            self.futures[slot] = future

    def do_relay(self, number, target, method, lane, names, script, slot):
        """Let a chare carry out a script of its own, with some of our collections."""
        proxies = {name: self.proxies[name] for name in names}
        self.futures[slot] = getattr(self.target(target), method)(
            self.lane, lane, proxies, script, ret=True)

    def do_scribble(self, number, target, value):
        """What a chare does to an argument is not seen by its caller."""
        before = canonical(value)
        result = yield 'get', self.target(target).scribble(self.lane, value, ret=True)
        self.report(number, [result, canonical(value) == before])

    def do_acquaint(self, number, target, others):
        """Proxies are the same when they come back."""
        proxies = [self.target(other) for other in others]
        answer = yield 'get', self.target(target).acquaint(
            self.lane, proxies[0], dict(enumerate(proxies[1:])), ret=True)
        self.report(number, [answer == proxies, [*map(hash, answer)] == [*map(hash, proxies)]])

    def do_chain(self, number, chain, value, slot):
        """Send a value through several chares to a future, or to none."""
        hops = [self.target(hop) for hop in chain]
        hops[0].hop(self.lane, number, 0, hops[1:], value, self.futures.get(slot))

    def do_share(self, number, target, readers, chain, value, slot):
        self.futures[slot] = self.target(target).share(
            self.lane, readers, [self.target(hop) for hop in chain], value, ret=True)

    def do_call_back(self, number, target, callback, value):
        """Let a chare call a method of a proxy, or a future."""
        if callback[0] == 'slot':
            function = self.futures[callback[1]]
        else:
            function = self.target(callback).collect
        self.target(target).call_back(self.lane, function, value)

    # ---- futures ----

    def do_future(self, number, slot, num_vals):
        self.futures[slot] = Future(num_vals)

    def do_send(self, number, slot, value):
        self.futures[slot].send(value)

    def do_get(self, number, slot, how):
        """how: 'value', 'bag' (several values in any order), 'relay' or 'raised'."""
        future = self.futures[slot]
        if how == 'raised':
            try:
                value = yield 'get', future
            except Exception as error:
                value = raised(error)
        else:
            value = yield 'get', future
        assert future.done()
        if how == 'relay':
            results, created = value
            self.results.extend(results)
            self.proxies.update(created)
            self.created.update(created)
        else:
            self.report(number, bag(value) if how == 'bag' else value)

    def do_get_in_time(self, number, slot, how):
        value = yield 'get in time', self.futures[slot], LONG
        self.report(number, bag(value) if how == 'bag' else value)

    def do_too_early(self, number, slot, seconds):
        """Nobody has sent a value yet."""
        try:
            value = yield 'get in time', self.futures[slot], seconds
        except TimeoutError:
            value = 'timeout'
        self.report(number, value)

    def do_cancel(self, number, slot):
        future = self.futures[slot]
        answers = [future.cancel(), future.cancel(), future.done()]
        try:
            answers.append((yield 'get', future))
        except CancelledError:
            answers.append('cancelled')
        self.report(number, answers)

    def do_wait(self, number, slots):
        yield 'all', [self.futures[slot] for slot in slots]
        self.report(number, all(self.futures[slot].done() for slot in slots))

    def do_each(self, number, slots):
        futures = [self.futures[slot] for slot in slots]
        seen = yield 'each', futures
        self.report(number, [len(seen), set(seen) == set(futures)])

    # ---- reductions ----

    def spec(self, spec):
        """A reduction for the elements: (reducer, kind, seed, callback)."""
        reducer, kind, seed, target = spec
        if target is None:
            callback = None
        elif target[0] == 'slot':
            callback = self.futures[target[1]]
        else:
            callback = self.target(target).collect
        return reducer, kind, seed, callback

    def do_reduce(self, number, name, specs, pace):
        self.proxies[name].reductions(self.lane, [self.spec(spec) for spec in specs], pace)

    # ---- time and quiescence ----

    def do_sleep(self, number, seconds):
        yield 'sleep', seconds

    def do_timer(self, number, slot, seconds, value):
        charm.scheduleCallableAfter(self.futures[slot], seconds, [value])

    def do_timed_call(self, number, target, slot, seconds, value):
        charm.scheduleCallableAfter(self.target(target).call_back, seconds,
                                    [self.lane, self.futures[slot], value])

    def do_quiet(self, number):
        yield ('quiet',)

    def do_start_quiet(self, number, target, slot):
        """At quiescence a future, or a chare's method that then sends to it, is called."""
        if target is None:
            charm.startQD(self.futures[slot])
        else:
            proxy = self.target(target)
            proxy.keep(self.lane, self.futures[slot])
            charm.startQD(proxy.release_kept)

    # ---- the runtime's own ----

    def do_pes(self, number):
        self.report(number, (yield 'get', charm.thisProxy.myPe(ret=True)))

    def do_globals(self, number, name, value):
        yield 'get', charm.thisProxy.updateGlobals({name: value}, __package__ + '.chares',
                                                   awaitable=True)


def reducer_named(name):
    """An attribute of Reducer, or None."""
    return None if name is None else getattr(Reducer, name)
