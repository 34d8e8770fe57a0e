"""Keyword arguments of remote calls are bound by the signature of the callee (SPEC 0.9, 1.7)."""

from c4py import Array, Chare, Group, charm, coro

from model import check, start_checks


class Worker(Chare):
    def three(self, a, b=2, c=3):
        return a, b, c

    def only(self, a, *, key, other='o'):
        return a, key, other

    def anything(self, *args, **kwargs):
        return args, kwargs

    def positional(self, a, b=2, /, c=3):
        return a, b, c

    def none(self):
        return 'none'

    def with_awaitable(self, a, awaitable=None):
        return a, awaitable

    @coro
    def in_coroutine(self, a, *, key=1):
        charm.sleep(0.001)
        return a, key

    async def in_async(self, a, *, key=1):
        await charm.sleep(0.001)
        return a, key


def proxies():
    group, array = Group(Worker), Array(Worker, 3)
    return [group[0], group[charm.numPes() - 1], array[0], array[2],
            Chare(Worker, onPE=charm.numPes() - 1)]


def refused(call, *words):
    try:
        call()
    except TypeError as error:
        text = str(error)
        assert all(word in text for word in words), text
        return True
    return False


@check
def test_keywords_reach_their_parameters():
    for proxy in proxies():
        assert proxy.three(1, c=5, ret=True).get() == (1, 2, 5)
        assert proxy.three(b=4, a=1, ret=True).get() == (1, 4, 3)
        assert proxy.three(a=1, ret=True).get() == (1, 2, 3)
        assert proxy.three(1, 2, 3, ret=True).get() == (1, 2, 3)


@check
def test_keywords_reach_every_element_of_a_broadcast():
    assert Array(Worker, 4).three(1, c=9, ret=True).get() == [(1, 2, 9)] * 4
    assert Group(Worker).only(1, key='k', ret=True).get() == [(1, 'k', 'o')] * charm.numPes()


@check
def test_keyword_only_parameters_work():
    for proxy in proxies():
        assert proxy.only(1, key=2, ret=True).get() == (1, 2, 'o')
        assert proxy.only(a=1, other=3, key=2, ret=True).get() == (1, 2, 3)


@check
def test_any_keywords_and_any_arguments_work():
    for proxy in proxies():
        assert proxy.anything(1, 2, x=3, y=[4], ret=True).get() == ((1, 2), {'x': 3, 'y': [4]})
        assert proxy.anything(ret=True).get() == ((), {})


@check
def test_keywords_reach_coroutines():
    for proxy in proxies():
        assert proxy.in_coroutine(1, key=5, ret=True).get() == (1, 5)
        assert proxy.in_async(key=6, a=2, ret=True).get() == (2, 6)


@check
def test_calls_without_a_future_bind_keywords_too():
    worker = Chare(Worker, onPE=charm.numPes() - 1)
    assert worker.three(1, b=7) is None
    assert refused(lambda: worker.three(1, d=7), 'd')


@check
def test_unknown_keywords_are_refused_at_the_caller():
    for proxy in proxies():
        assert refused(lambda: proxy.three(1, nothing=2), 'Worker.three', 'nothing')
        assert refused(lambda: proxy.none(nothing=2, ret=True), 'Worker.none', 'nothing')
        assert refused(lambda: proxy.positional(1, b=2), 'b')


@check
def test_values_given_twice_are_refused_at_the_caller():
    for proxy in proxies():
        assert refused(lambda: proxy.three(1, a=2), 'multiple values', 'a')


@check
def test_missing_arguments_are_refused_at_the_caller_if_there_is_a_keyword():
    for proxy in proxies():
        assert refused(lambda: proxy.three(b=2), 'missing', 'a')
        assert refused(lambda: proxy.three(ret=True), 'missing', 'a')
        assert refused(lambda: proxy.only(1, ret=True), 'missing', 'key')
        assert refused(lambda: proxy.three(1, 2, 3, 4, awaitable=True), 'too many')


@check
def test_a_parameter_called_awaitable_shares_the_keyword():
    for proxy in proxies():
        assert proxy.with_awaitable(1, awaitable=True).get() == (1, True)
        assert proxy.with_awaitable(1, 'yes', ret=True).get() == (1, 'yes')
        assert proxy.with_awaitable(1, awaitable=False) is None
        assert proxy.with_awaitable(1, ret=True).get() == (1, None)


@check
def test_a_parameter_called_ret_is_refused_when_the_class_is_used():
    class Bad(Chare):
        def method(self, ret):
            pass

    try:
        Group(Bad)
    except AssertionError as error:
        assert 'Bad.method' in str(error) and 'ret' in str(error)
    else:
        assert False, 'not raised'


if __name__ == '__main__':
    start_checks()
