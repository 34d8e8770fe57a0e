"""Clients under a running asyncio loop."""

pytest_plugins = ["sessions"]

BEGIN = """
import asyncio
import time
import c4py
from c4py import Chare, Reducer, charm, coro

class Worker(Chare):
    def add(self, a, b):
        return a + b
    def fail(self):
        raise ValueError('remote')
    def sleep(self, seconds):
        time.sleep(seconds)
        return 'slept'
    def call(self, target, *args):
        target(*args)
    def sum(self, target):
        self.reduce(target, 1, Reducer.sum)
    @coro
    def stay(self):
        c4py.Future().get()
"""


def test_futures_can_be_awaited_gathered_and_cancelled(run_client):
    run_client(BEGIN + """
async def main():
    with c4py.connect(pes=2, quiet=True) as session:
        workers = session.Group(Worker)
        assert await workers[1].add(1, 2, ret=True) == 3
        assert await workers[1].add((1,), (2,), ret=True) == (1, 2)
        assert await workers.add(1, 2, ret=True) == [3, 3]
        futures = [workers[i % 2].add(i, i, ret=True) for i in range(200)]
        assert await asyncio.gather(*futures) == [2 * i for i in range(200)]
        result = session.Future()
        workers.sum(result)
        assert await asyncio.wait_for(result, 10) == 2
        try:
            await workers[0].fail(ret=True)
        except ValueError as error:
            assert error.args == ('remote',) and 'in fail' in str(error.__cause__)
        else:
            raise AssertionError
        try:
            await asyncio.wait_for(workers[0].stay(ret=True), 0.05)
        except asyncio.TimeoutError:
            pass
        else:
            raise AssertionError
        assert await workers[0].add(1, 1, ret=True) == 2

asyncio.run(main())
""")


def test_other_tasks_run_while_one_waits_and_while_answers_come_at_once(run_client):
    run_client(BEGIN + """
async def main():
    with c4py.connect(pes=2, quiet=True) as session:
        workers = session.Group(Worker)
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        before = turns
        assert await workers[1].sleep(0.2, ret=True) == 'slept'
        assert turns > before + 100
        before = turns
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            await workers[1].add(1, 1, ret=True)
        assert turns > before + 2
        counting.cancel()

asyncio.run(main())
""")


def test_callbacks_run_while_the_loop_is_idle_and_may_be_coroutines(run_client):
    run_client(BEGIN + """
async def main():
    with c4py.connect(pes=2, quiet=True) as session:
        workers = session.Group(Worker)
        loop = asyncio.get_running_loop()
        for _ in range(20):
            called, done = loop.create_future(), loop.create_future()

            async def later(value):
                await asyncio.sleep(0)
                done.set_result(await workers[0].add(value, 1, ret=True))

            workers[1].call(session.callback(called.set_result), 'now')
            workers[1].call(session.callback(later), 41)
            assert await asyncio.wait_for(called, 10) == 'now'
            assert await asyncio.wait_for(done, 10) == 42
            assert workers[0].add(1, 1, ret=True).get() == 2      # waiting in between is allowed

asyncio.run(main())
""")


def test_a_session_can_be_used_by_one_loop_after_the_other(run_client):
    run_client(BEGIN + """
session = c4py.connect(pes=2, quiet=True)
workers = session.Group(Worker)

async def ask():
    called = asyncio.get_running_loop().create_future()
    workers[1].call(session.callback(called.set_result), 1)
    await asyncio.wait_for(called, 10)
    return await workers[1].add(1, 1, ret=True)

for _ in range(3):
    assert asyncio.run(ask()) == 2
    assert workers[1].add(2, 2, ret=True).get() == 4
session.close()
""")


def test_whoever_awaits_hears_of_the_end_of_the_session(run_client):
    run_client(BEGIN + """
class Leaver(Chare):
    def leave(self):
        charm.exit(5)

async def main():
    session = c4py.connect(pes=2, quiet=True)
    workers, leaver = session.Group(Worker), session.Chare(Leaver)

    async def wait():
        try:
            await workers[1].stay(ret=True)
        except c4py.SessionClosed as error:
            return str(error)

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0.01)
    leaver.leave()
    reasons = await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert all('5' in reason for reason in reasons), reasons
    assert session.closed

asyncio.run(main())
""")


def test_awaiting_outside_of_a_loop_is_refused(run_client):
    run_client(BEGIN + """
with c4py.connect(pes=1, quiet=True) as session:
    future = session.Chare(Worker).stay(ret=True)
    try:
        future.__await__().send(None)
    except RuntimeError as error:
        assert 'running event loop' in str(error)
    else:
        raise AssertionError
""")
