"""Reducers of one's own (SPEC 2.4)."""

import numpy

from c4py import Array, Chare, Charm4PyError, Future, Group, Reducer, charm, coro

from model import check, start_checks

calls = []


def concatenate(parts):
    return [item for part in parts for item in part]


def total(parts):
    assert isinstance(parts, list) and parts
    return sum(parts)


def halved(result):
    calls.append(result)
    return result / 2


def squared(data, chare):
    assert isinstance(chare, Element)
    return data * data


def with_pre(parts):
    return sum(parts)


def with_post(parts):
    return sum(parts)


def with_both(parts):
    return sum(parts)


def adds_in_place(parts):
    result = parts[0]
    for part in parts[1:]:
        result += part
    return result


def merge(parts):
    merged = {}
    for part in parts:
        for key, value in part.items():
            merged[key] = merged.get(key, 0) + value
    return merged


def lowest(parts):
    return min(parts, key=lambda part: part[0])


Reducer.addReducer(concatenate)
Reducer.addReducer(total)
Reducer.addReducer(with_pre, pre=squared)
Reducer.addReducer(with_post, post=halved)
Reducer.addReducer(with_both, squared, halved)
Reducer.addReducer(adds_in_place)
Reducer.addReducer(merge)
charm.addReducer(lowest)


class Element(Chare):
    def __init__(self):
        self.got = []

    def number(self):
        index = self.thisIndex
        return index if isinstance(index, int) else index[0]

    def go(self, target, reducer, data=None):
        self.reduce(target, self.number() if data is None else data, getattr(Reducer, reducer))

    def go_with(self, target, data, reducer):
        self.reduce(target, data, reducer)

    def by_function(self, target):
        self.reduce(target, self.number(), total)

    def words(self, target):
        self.reduce(target, {'all': 1, f'of {self.number() % 2}': 1}, Reducer.merge)

    def keeps(self, target):
        self.mine = numpy.full(5, 1.)
        self.reduce(target, self.mine, Reducer.adds_in_place)

    def kept(self):
        return float(self.mine.sum())

    @coro
    def all(self):
        return self.allreduce([self.number()], Reducer.concatenate).get()

    def receive(self, value):
        self.got.append(value)

    def get_got(self):
        return self.got

    def unknown(self, target):
        def never_registered(parts):
            return parts
        try:
            self.reduce(target, 1, never_registered)
        except Charm4PyError as error:
            return error.message


def sources():
    return [(Array(Element, 9), 9), (Array(Element, 1), 1), (Group(Element), charm.numPes())]


def result(method, *args):
    future = Future()
    method(future, *args)
    return future.get()


@check
def test_a_function_of_a_list_is_a_reducer():
    for source, count in sources():
        assert result(source.go, 'total') == sum(range(count))
        assert result(source.go, 'concatenate', ['x']) == ['x'] * count


@check
def test_the_function_itself_names_its_reducer():
    for source, count in sources():
        assert result(source.by_function) == sum(range(count))


@check
def test_a_reducer_travels_as_an_argument():
    for source, count in sources():
        assert result(source.go_with, 2, Reducer.total) == 2 * count
        assert result(source.go_with, 2, Reducer.sum) == 2 * count


@check
def test_contributions_are_prepared_by_pre_and_results_by_post():
    for source, count in sources():
        squares = sum(i * i for i in range(count))
        assert result(source.go, 'with_pre') == squares
        assert result(source.go, 'with_post') == sum(range(count)) / 2
        assert result(source.go, 'with_both') == squares / 2


@check
def test_post_runs_once_for_one_receiver():
    charm.thisProxy.updateGlobals({'calls': []}, awaitable=True).get()
    source = Array(Element, 9)
    result(source.go, 'with_post')
    lengths = charm.thisProxy.eval('len(calls)', ret=True).get()
    assert sum(lengths) == 1


@check
def test_dictionaries_can_be_merged():
    for source, count in sources():
        merged = result(source.words)
        assert merged['all'] == count and merged['of 0'] == (count + 1) // 2


@check
def test_a_reducer_that_works_in_place_changes_no_contribution():
    for source, count in sources():
        assert (result(source.keeps) == numpy.full(5, count)).all()
        kept = source.kept(ret=True).get()
        assert kept == [5.] * count


@check
def test_an_allreduce_may_use_one():
    for source, count in sources():
        got = source.all(ret=True).get()
        assert len(got) == count and all(sorted(value) == list(range(count)) for value in got)


@check
def test_the_result_may_go_to_every_kind_of_target():
    for source, count in sources():
        single = Chare(Element, onPE=charm.numPes() - 1)
        everyone = Array(Element, 4)
        source.go(single.receive, 'total', 1)
        source.go(everyone.receive, 'total', 2)
        charm.waitQD()
        assert single.get_got(ret=True).get() == [count]
        assert everyone.get_got(ret=True).get() == [[2 * count]] * 4


@check
def test_reducers_are_attributes_under_their_names():
    names = vars(Reducer)
    for name in ('sum', 'product', 'max', 'min', 'logical_and', 'logical_or', 'logical_xor',
                 'gather', 'nop', 'total', 'concatenate', 'with_both', 'lowest'):
        assert name in names and name in repr(names[name])
    assert Reducer is charm.reducers


@check
def test_a_name_that_is_taken_is_refused():
    for name in ('sum', 'gather', 'total', 'addReducer'):
        def function(parts):
            return parts
        function.__name__ = name
        try:
            Reducer.addReducer(function)
        except Charm4PyError as error:
            assert name in error.message
        else:
            assert False, name


@check
def test_only_functions_with_a_name_can_be_added():
    for bad in (5, 'x', None):
        try:
            Reducer.addReducer(bad)
        except Charm4PyError as error:
            assert 'addReducer' in error.message
        else:
            assert False, bad


@check
def test_a_function_that_was_not_registered_is_refused_at_the_contributor():
    chare = Chare(Element, onPE=charm.numPes() - 1)
    text = chare.unknown(Future(), ret=True).get()
    assert 'never_registered' in text and 'addReducer' in text


def added_later(parts):
    return max(parts)


@check
def test_a_reducer_can_be_added_on_all_pes_later():
    if not hasattr(Reducer, 'added_later'):
        charm.thisProxy.addReducer(added_later, awaitable=True).get()
    for source, count in sources():
        assert result(source.go, 'added_later') == count - 1


@check
def test_reductions_with_different_reducers_are_told_apart():
    class Confused(Chare):
        def go(self, target):
            reducer = Reducer.sum if self.thisIndex[0] else Reducer.max
            try:
                self.reduce(target, 1, reducer)
            except Charm4PyError as error:
                return error.message

    texts = [text for text in Array(Confused, 2 * charm.numPes()).go(Future(), ret=True).get()]
    assert sum(text is not None and 'Reducer.sum' in text and 'Reducer.max' in text
               for text in texts) >= 1


if __name__ == '__main__':
    charm.options.remote_exec = True
    start_checks()
