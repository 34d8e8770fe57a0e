"""The generator of random programs, which is their oracle as well.

A program is a script of statements (see actor.py) for main, with scripts for chares inside it.
While a statement is made up, what must come of it is worked out in plain Python: values that
statements report (Planner.expected) and the state of every chare at the end (Collection.states).
Chares run concurrently, so a program is made such that its outcome does not depend on who is
first: what several scripts do to a chare commutes, and the reductions of a collection are started
by one script only.
"""

import itertools
import random

from .pieces import random_spec, reduced
from .values import NOTHING, WORDS, bag, random_array, random_scalar, random_value, salt_of, twist

OFFSETS = {'Worker': 0, 'Slow': 1000, 'Heir': 2000}
PAUSES = [None, None, 0, 0.0005]        # None: a call and its answer instead of a time
MOST_DEPTH = 3


class Collection:
    """A group, array or single chare as the oracle knows it."""

    def __init__(self, name, kind, class_name, dims, pe, pes, tag):
        self.name, self.kind, self.class_name, self.tag = name, kind, class_name, tag
        self.offset = OFFSETS.get(class_name, 3000)
        self.owner = None               # the lane that starts its reductions
        self.moves = False              # elements may be on any PE
        if kind == 'group':
            self.indexes = list(range(pes))
            self.pes = list(range(pes))
        elif kind == 'single':
            self.indexes, self.pes = [(0,)], [pe if pe >= 0 else None]
        else:
            shape = (dims,) if isinstance(dims, int) else dims
            self.indexes = list(itertools.product(*map(range, shape)))
            self.pes = _blocks(len(self.indexes), pes)
        self.states = {index: {'total': 0, 'seen': {}, 'hops': [], 'collected': []}
                       for index in self.indexes}

    def let_move(self):
        """Its elements will move whenever they can, and nobody knows when that is."""
        self.moves = True
        self.pes = [None] * len(self.indexes)

    def salt(self, index):
        return salt_of(index) + self.offset

    def salts(self):
        return [self.salt(index) for index in self.indexes]

    def element(self, rng):
        """A target and its index."""
        index = rng.choice(self.indexes)
        if self.kind == 'single':
            return (self.name, None), index
        if self.kind == 'array' and len(index) == 1 and rng.random() < 0.5:
            return (self.name, index[0]), index
        return (self.name, index), index

    def final_states(self):
        """What state() of each element must be, in the order of indexes."""
        found = []
        for index, pe in zip(self.indexes, self.pes):
            state = self.states[index]
            found.append({
                'index': index, 'tag': self.tag, 'pe': pe, 'total': state['total'],
                'seen': state['seen'], 'hops': bag(state['hops']),
                'collected': bag(state['collected']), 'constructed': True, 'left': [0, 0, 0],
                'untouched': True})
        return found


def _blocks(count, pes):
    """PEs of `count` elements in contiguous blocks, the first ones larger by one."""
    each, rest = divmod(count, pes)
    return [pe for pe in range(pes) for _ in range(each + (pe < rest))]


class Script:
    """A script in the making."""

    def __init__(self, lane, known, depth, greenlet):
        self.lane, self.depth, self.greenlet = lane, depth, greenlet
        self.known = list(known)        # names of collections that it can use
        self.fresh = []                 # those that it made and has not waited for
        self.created = []
        self.statements = []
        self.open = []                  # (slot, how) that are still to be read
        self.sequence = 0


class Planner:
    """Makes up one program.

    Attributes:
        script: the statements for main.
        expected: statement -> what it must report.
        collections: name -> Collection.
    """

    def __init__(self, seed, pes, by_reference=False):
        if by_reference:        # then a caller sees what is done to its arguments
            self._choices = [choice for choice in self._choices
                             if choice not in (Planner.scribble, Planner.scribble_everywhere)]
        self.rng = random.Random(f'{seed} on {pes} PEs')
        self.seed, self.pes = seed, pes
        self.collections = {}
        self.expected = {}
        self._numbers = itertools.count(1)
        self._lanes = itertools.count(1)
        self._slots = itertools.count(1)
        self._left = self.rng.choice([5, 20, 40, 80])
        main = Script(next(self._lanes), [], 0, True)
        for _ in range(self.rng.randrange(1, 4)):
            self.create(main)
        self.script = self._fill(main, self._left)

    # ---- the frame ----

    def _fill(self, script, most):
        for _ in range(self.rng.randrange(1, most + 1)):
            if self._left <= 0:
                break
            self._left -= 1
            self.rng.choice(self._choices)(self, script)
        self._close(script)
        return script.statements

    def _close(self, script):
        self.rng.shuffle(script.open)
        slots = [slot for slot, _ in script.open]
        if slots and self.rng.random() < 0.2:
            number = self.add(script, 'wait', slots)
            self.expected[number] = True
        elif slots and script.greenlet and self.rng.random() < 0.2:
            number = self.add(script, 'each', slots)
            self.expected[number] = [len(slots), True]
        while script.open:
            self.get(script, 0)

    def add(self, script, operation, *details):
        number = next(self._numbers)
        script.statements.append((number, operation) + details)
        return number

    def slot(self):
        return f'f{next(self._slots)}'

    def expect(self, script, slot, how, value):
        """The future in this slot will be read, now or later."""
        script.open.append((slot, (how, value)))
        while script.open and self.rng.random() < 0.3:
            self.get(script, self.rng.randrange(len(script.open)))

    def get(self, script, place):
        slot, (how, value) = script.open.pop(place)
        in_time = script.greenlet and how in ('value', 'bag') and self.rng.random() < 0.15
        number = self.add(script, 'get_in_time' if in_time else 'get', slot, how)
        if how == 'relay':
            script.known += value       # the collections that the other script made
            script.created += value
            return
        self.expected[number] = value
        if not in_time and self.rng.random() < 0.1:
            self.expected[self.add(script, 'get', slot, how)] = value

    def future(self, script, num_vals=1):
        slot = self.slot()
        self.add(script, 'future', slot, num_vals)
        return slot

    def any_collection(self, script, empty=False):
        names = [name for name in script.known if empty or self.collections[name].indexes]
        return self.collections[self.rng.choice(names)] if names else None

    def any_element(self, script):
        collection = self.any_collection(script)
        if collection is None:
            return None, None, None
        return (collection,) + collection.element(self.rng)

    # ---- creating ----

    def create(self, script):
        rng = self.rng
        name = f'c{len(self.collections) + 1}'
        kind = rng.choice(['group', 'array', 'array', 'single'])
        class_name = rng.choice(['Worker', 'Worker', 'Slow', 'Heir'])
        if rng.random() < 0.15:
            class_name = f'Dynamic_{self.seed}_{name}'
        dims = None
        if kind == 'array':
            dims = tuple(rng.choice([1, 2, 2, 3]) for _ in range(rng.randrange(1, 7)))
            if rng.random() < 0.3:
                dims = rng.choice([0, 1, 3, 11, (17,), (2, 0)])
        pe = rng.randrange(-1, self.pes)
        tag, value = rng.randrange(10 ** 6), random_value(rng)
        collection = Collection(name, kind, class_name, dims, pe, self.pes, tag)
        specs = self._constructor_reductions(script, collection)
        slot = None
        if collection.indexes and rng.random() < 0.4:
            slot = self.future(script, len(collection.indexes))
            reports = [(index, twist(value, collection.salt(index)))
                       for index in collection.indexes]
            how, reports = ('bag', bag(reports)) if len(reports) > 1 else ('value', reports[0])
            script.open.append((slot, (how, reports)))
        if kind != 'group' and rng.random() < 0.5:
            collection.let_move()
        self.collections[name] = collection
        self.add(script, 'create', name, kind, class_name, dims, pe, tag, value, slot, specs)
        script.known.append(name)
        script.created.append(name)
        script.fresh.append(name)
        if rng.random() < 0.5:
            self.add(script, 'created', script.fresh)
            script.fresh = []

    def _constructor_reductions(self, script, collection):
        if not collection.indexes or self.rng.random() < 0.6:
            return []
        return [self._reduction(script, collection) for _ in range(self.rng.randrange(1, 3))]

    # ---- calls ----

    def _arguments(self):
        rng = self.rng
        values = [random_value(rng) for _ in range(rng.choice([1, 1, 2, 2, 3, 6]))]
        keywords = {}
        if rng.random() < 0.2:
            keywords['c'] = random_value(rng)
        if rng.random() < 0.15:
            keywords['extra'] = random_scalar(rng)
        if len(values) == 1 and rng.random() < 0.2:
            keywords['b'] = random_value(rng)
        return values, keywords

    @staticmethod
    def _answer(salt, values, keywords):
        more = dict(keywords)
        c = more.pop('c', None)
        b = more.pop('b', 7)
        a, b, *rest = values if len(values) > 1 else (values[0], b)
        return (twist(a, salt), twist(b, salt), [twist(item, 1) for item in rest],
                twist(c, salt), {name: twist(item, 2) for name, item in more.items()})

    def _note(self, script, collection, indexes, broadcast):
        """The next message of a script to some elements.

        A broadcast to elements that move may be early or late among single calls: such ones have
        negative numbers, which are kept in a lane of their own.
        """
        script.sequence += 1
        sign = -1 if broadcast and collection.moves else 1
        for index in indexes:
            seen = collection.states[index]['seen']
            seen.setdefault(sign * script.lane, []).append(sign * script.sequence)
        return sign * script.sequence

    def _pauses(self, mode):
        pauses = [self.rng.choice(PAUSES) for _ in range(self.rng.randrange(3))]
        return pauses if mode else [None for pause in pauses if pause is None]

    def call(self, script):
        """A method of one element, or of all."""
        rng = self.rng
        collection = self.any_collection(script, empty=True)
        if collection is None:
            return
        mode = rng.choice([None, 'ret', 'ret', 'awaitable'])
        method = rng.choice(['work', 'work', 'work_coro', 'work_async'])
        one = bool(collection.indexes) and (collection.kind == 'single' or rng.random() < 0.6)
        if one:
            target, index = collection.element(rng)
            indexes = [index]
        else:
            target, indexes = (collection.name, None), collection.indexes
        values, keywords = self._arguments()
        sequence = self._note(script, collection, indexes, not one)
        for index in indexes:
            collection.states[index]['total'] += sequence
        args = [sequence] + ([] if method == 'work' else [self._pauses(mode)]) + values
        slot = self.slot() if mode else None
        self.add(script, 'call', target, method, args, keywords, mode, slot)
        if mode is None:
            return
        answers = [self._answer(collection.salt(index), values, keywords) for index in indexes]
        if one:
            self.expect(script, slot, 'value', answers[0])
        else:
            self.expect(script, slot, 'value', answers if mode == 'ret' else None)

    def fail(self, script):
        """An exception in one element, or in all, comes back to the caller."""
        rng = self.rng
        collection = self.any_collection(script)
        if collection is None:
            return
        method = rng.choice(['fail', 'fail_coro'])
        mode = rng.choice(['ret', 'awaitable'])
        culprit = rng.choice(collection.indexes)
        pe = collection.pes[collection.indexes.index(culprit)]
        slot = self.slot()
        text = rng.choice(WORDS)
        if pe is None:
            return
        error = f'{text} {culprit}'
        if rng.random() < 0.5 or collection.kind == 'single':
            target = (collection.name, None if collection.kind == 'single' else culprit)
            sequence = self._note(script, collection, [culprit], False)
            how, value = 'raised', ['raised', 'ValueError', error, pe]
        else:
            target = (collection.name, None)
            sequence = self._note(script, collection, collection.indexes, True)
            how, value = 'raised', ['raised', 'ValueError', error, pe]
            if mode == 'ret':
                how, value = 'value', [ValueError(error) if index == culprit else text
                                       for index in collection.indexes]
        self.add(script, 'call', target, method, [sequence, text, culprit], {}, mode, slot)
        self.expect(script, slot, how, value)

    def seen(self, script):
        """All messages of this script have arrived in their order."""
        collection, target, index = self.any_element(script)
        if collection is None:
            return
        slot = self.slot()
        self.add(script, 'call', target, 'seen_of', [], {}, 'ret', slot)
        value = list(collection.states[index]['seen'].get(script.lane, []))
        self.expect(script, slot, 'value', value)

    def wander(self, script):
        """Elements move, now or later, to where they are told."""
        movers = [name for name in script.known
                  if self.collections[name].moves and self.collections[name].indexes]
        if not movers:
            return
        collection = self.collections[self.rng.choice(movers)]
        pes = [self.rng.randrange(self.pes) for _ in range(self.rng.randrange(1, 5))]
        target = collection.element(self.rng)[0]
        if self.rng.random() < 0.4:
            target = (collection.name, None)
        self.add(script, 'call', target, 'wander', [pes, self.rng.randrange(4)], {}, None, None)

    def relay(self, script):
        """A chare carries out a script of its own."""
        rng = self.rng
        collection, target, _ = self.any_element(script)
        if collection is None or script.depth >= MOST_DEPTH:
            return
        greenlet = rng.random() < 0.6
        names = rng.sample(script.known, rng.randrange(1, len(script.known) + 1))
        inner = Script(next(self._lanes), names, script.depth + 1, greenlet)
        statements = self._fill(inner, 8)
        slot = self.slot()
        self.add(script, 'relay', target, 'relay' if greenlet else 'relay_async', inner.lane,
                 names, statements, slot)
        self.expect(script, slot, 'relay', inner.created)

    def scribble(self, script):
        collection, target, index = self.any_element(script)
        value = random_array(self.rng)
        if collection is None or value.ndim == 0 or not value.flags.writeable:
            return
        number = self.add(script, 'scribble', target, value)
        self.expected[number] = [twist(value, collection.salt(index)).copy(), True]

    def acquaint(self, script):
        _, target, _ = self.any_element(script)
        if target is None:
            return
        others = []
        for _ in range(self.rng.randrange(1, 4)):
            collection = self.any_collection(script, empty=True)
            others.append(collection.element(self.rng)[0] if collection.indexes
                          and self.rng.random() < 0.5 else (collection.name, None))
        self.expected[self.add(script, 'acquaint', target, others)] = [True, True]

    def scribble_everywhere(self, script):
        """PEs have no argument of a broadcast in common."""
        collection = self.any_collection(script)
        value = random_array(self.rng)
        if (collection is None or value.ndim == 0 or value.size == 0
                or len(set(collection.pes)) < len(collection.pes)):
            return
        slot = self.slot()
        target = (collection.name, None)
        self.add(script, 'call', target, 'scribble_alone', [value], {}, 'ret', slot)
        results = [(twist(value, collection.salt(index)).copy(), True)
                   for index in collection.indexes]
        self.expect(script, slot, 'value', results[0] if collection.kind == 'single' else results)

    # ---- chains of messages, callbacks ----

    def _hops(self, script, chain, value, record=True):
        """Elements that a value passes through, and what comes out."""
        targets = []
        for position in range(self.rng.randrange(1, 6)):
            collection, target, index = self.any_element(script)
            if collection is None:
                return None, None
            if record:
                collection.states[index]['hops'].append((chain, position))
            targets.append(target)
            value = twist(value, collection.salt(index))
        return targets, value

    def _chain(self, script, slot):
        """One chain as a statement; returns the value at its end."""
        value = random_value(self.rng)
        number = self.add(script, 'chain', None, value, slot)
        targets, result = self._hops(script, number, value)
        if targets is None:
            script.statements.pop()
            return None
        script.statements[-1] = (number, 'chain', targets, value, slot)
        return result

    def chains(self, script):
        """A future whose values come through chains of chares, or from here."""
        if self.any_collection(script) is None:
            return
        count = self.rng.choice([1, 1, 2, 3, 7])
        slot = self.future(script, count)
        results = []
        for _ in range(count):
            if self.rng.random() < 0.2:
                results.append(random_value(self.rng))
                self.add(script, 'send', slot, results[-1])
            else:
                results.append(self._chain(script, slot))
        if count == 1:
            self.expect(script, slot, 'value', results[0])
        else:
            self.expect(script, slot, 'bag', bag(results))

    def call_back(self, script):
        collection, target, index = self.any_element(script)
        if collection is None:
            return
        value = random_value(self.rng)
        result = twist(value, collection.salt(index))
        if self.rng.random() < 0.5:
            slot = self.future(script)
            self.add(script, 'call_back', target, ('slot', slot), value)
            self.expect(script, slot, 'value', result)
        else:
            callback = self._collector(script, result)
            self.add(script, 'call_back', target, callback, value)

    def _collector(self, script, value):
        """A method of one element or of all that records a value."""
        collection = self.any_collection(script)
        if self.rng.random() < 0.3 and collection.kind != 'single':
            for state in collection.states.values():
                state['collected'].append(value)
            return collection.name, None
        target, index = collection.element(self.rng)
        collection.states[index]['collected'].append(value)
        return target

    def share(self, script):
        """A future with several readers on another chare."""
        rng = self.rng
        collection, target, _ = self.any_element(script)
        if collection is None:
            return
        readers = []
        for _ in range(rng.randrange(1, 5)):
            kind = rng.choice(['read', 'read_async'])
            timeout = rng.choice([None, None, 0, 0.001, 60]) if kind == 'read' else None
            readers.append((kind, timeout))
        value = random_value(rng)
        slot = self.slot()
        if rng.random() < 0.7:
            targets, result = self._hops(script, None, value, record=False)
        else:
            targets, result = [], value
        self.add(script, 'share', target, readers, targets, value, slot)
        self.expect(script, slot, 'value', [result] * (len(readers) + 1))

    def give_up(self, script):
        """A coroutine that has not waited for a future's value is over when it comes."""
        collection, target, _ = self.any_element(script)
        if collection is None:
            return
        slot, key, value = self.slot(), f'late{script.lane}', random_value(self.rng)
        seconds = self.rng.choice([0, 0.0005])
        self.add(script, 'call', target, 'give_up', [key, seconds], {}, 'ret', slot)
        self.expected[self.add(script, 'get', slot, 'value')] = 'given up'
        slot = self.slot()
        self.add(script, 'call', target, 'send_late', [key, value], {}, None, None)
        self.add(script, 'call', target, 'read_late', [key], {}, 'ret', slot)
        self.expected[self.add(script, 'get', slot, 'value')] = value

    def early(self, script):
        """A timeout that passes, then the value comes."""
        if not script.greenlet:
            return
        slot = self.future(script)
        number = self.add(script, 'too_early', slot, self.rng.choice([0, 0.0005, 0.002]))
        self.expected[number] = 'timeout'
        value = random_value(self.rng)
        if self.any_collection(script):
            value = self._chain(script, slot)
        else:
            self.add(script, 'send', slot, value)
        self.expect(script, slot, 'value', value)

    def cancel(self, script):
        count = self.rng.randrange(1, 3)
        slot = self.future(script, count)
        if self.any_collection(script) and self.rng.random() < 0.5:
            for _ in range(count):          # nobody reads it
                self._chain(script, slot)
            return
        number = self.add(script, 'cancel', slot)
        self.expected[number] = [True, False, True, 'cancelled']
        self.add(script, 'send', slot, 'dropped')

    # ---- reductions ----

    def _reduction(self, script, collection):
        """A reduction of a collection to any target, with what must come of it."""
        rng = self.rng
        spec = random_spec(rng)
        value = reduced(spec, collection.salts(), collection.class_name)
        others = self.any_collection(script)
        if others is None or rng.random() < 0.6:
            slot = self.future(script)
            script.open.append((slot, ('value', value)))
            return spec + (('slot', slot),)
        return spec + (self._collector(script, NOTHING if spec[0] in ('nop', None) else value),)

    def _reducible(self, script):
        """A collection whose reductions this script may start."""
        for _ in range(3):
            collection = self.any_collection(script)
            if collection is None:
                return None
            if collection.owner in (None, script.lane):
                collection.owner = script.lane
                return collection
        return None

    def reduce(self, script):
        collection = self._reducible(script)
        if collection is None:
            return
        specs = [self._reduction(script, collection) for _ in range(self.rng.choice([1, 1, 2, 5]))]
        self.add(script, 'reduce', collection.name, specs, self.rng.randrange(3))

    def agree(self, script):
        """Allreduces."""
        collection = self._reducible(script)
        if collection is None or collection.kind == 'single':
            return
        specs = [random_spec(self.rng) for _ in range(self.rng.choice([1, 1, 2, 4]))]
        order = self.rng.sample(range(len(specs)), len(specs))
        slot = self.slot()
        method = self.rng.choice(['agree', 'agree_async'])
        self.add(script, 'call', (collection.name, None), method, [specs, order], {}, 'ret', slot)
        results = [reduced(spec, collection.salts(), collection.class_name) for spec in specs]
        self.expect(script, slot, 'value', [results] * len(collection.indexes))

    # ---- time and quiescence ----

    def sleep(self, script):
        self.add(script, 'sleep', self.rng.choice([0, 0, 0.0003, 0.002]))

    def timer(self, script):
        slot = self.future(script)
        value = random_value(self.rng)
        seconds = self.rng.choice([0, 0.0002, 0.002])
        collection, target, index = self.any_element(script)
        if collection is None or self.rng.random() < 0.5:
            self.add(script, 'timer', slot, seconds, value)
            self.expect(script, slot, 'value', value)
        else:
            self.add(script, 'timed_call', target, slot, seconds, value)
            self.expect(script, slot, 'value', twist(value, collection.salt(index)))

    def quiet(self, script):
        """Messages that nobody waits for have all arrived at quiescence."""
        if self.any_collection(script) is None:
            return
        checks = []
        for _ in range(self.rng.randrange(1, 4)):
            self._chain(script, None)
            number, _, targets, *_ = script.statements[-1]
            checks.append((number, targets))
        self.add(script, 'quiet')
        for number, targets in checks:
            target = self.rng.choice(targets)
            positions = [i for i, hop in enumerate(targets) if self._same(hop, target)]
            slot = self.slot()
            self.add(script, 'call', target, 'hops_of', [number], {}, 'ret', slot)
            self.expect(script, slot, 'value', positions)

    @staticmethod
    def _same(a, b):
        def plain(target):
            return target[0], (target[1],) if isinstance(target[1], int) else target[1]
        return plain(a) == plain(b)

    def start_quiet(self, script):
        slot = self.future(script)
        collection, target, _ = self.any_element(script)
        if collection is None or self.rng.random() < 0.5:
            self.add(script, 'start_quiet', None, slot)
            self.expect(script, slot, 'value', None)
        else:
            self.add(script, 'start_quiet', target, slot)
            self.expect(script, slot, 'value', 'quiet')

    # ---- the runtime's own ----

    def runtime(self, script):
        collection, target, _ = self.any_element(script)
        if collection is None or self.rng.random() < 0.3:
            self.expected[self.add(script, 'pes')] = list(range(self.pes))
            return
        name, value = f'global_{self.seed}_{script.lane}', random_value(self.rng)
        slot = self.slot()
        if collection.moves:        # it may read it when the next value is there
            name += f'_{slot}'
        self.add(script, 'globals', name, value)
        self.add(script, 'call', target, 'shared_global', [name], {}, 'ret', slot)
        self.expect(script, slot, 'value', value)

    _choices = ([call] * 12 + [chains] * 4 + [reduce] * 4 + [relay] * 4
                + [wander] * 6 + [agree, call_back, create, share] * 2
                + [fail, acquaint, scribble, scribble_everywhere, give_up, seen, early, cancel,
                   sleep, timer, quiet, start_quiet, runtime])
