"""What a program has done with is given back; see also check_memory() in random_programs.py."""


def test_a_cancelled_future_keeps_nothing_of_those_that_read_it(run_program):
    result = run_program('''
        import gc, weakref
        from c4py import CancelledError, Future, charm

        class Thing:
            pass

        def read():
            thing, future = Thing(), Future(num_vals=2)
            future.send(1)
            charm.waitQD()
            future.cancel()
            try:
                future.get()
            except CancelledError:
                return weakref.ref(thing)

        def main(args):
            thing = read()
            gc.collect()
            print(thing())
            exit()

        charm.start(main)
    ''', pes=1)
    assert result.stdout == 'None\n', result


def test_the_block_of_a_sum_is_handed_on_and_given_back(run_program):
    result = run_program('''
        import numpy
        from c4py import Chare, Future, Group, Reducer, _c4py, charm, coro

        class Adder(Chare):
            @coro
            def receive(self, rounds):
                self.kept = []
                for i in range(rounds):
                    future = Future()
                    self.thisProxy.give(future, i)
                    total = future.get()
                    assert total.flags.writeable
                    total += 1
                    self.kept = self.kept[-3:] + [total]
                ends = [float(array[-1]) for array in self.kept]
                self.kept = None
                return ends

            def give(self, future, i):
                self.reduce(future, numpy.full(20000, float(i)), Reducer.sum)

            def used(self):
                return _c4py.segment_used()

        def main(args):
            group = Group(Adder)
            for pe in range(charm.numPes()):
                print(group[pe].receive(50, ret=True).get())
            charm.waitQD()
            print(max(group.used(ret=True).get()) < 20000 * 8)
            exit()

        charm.start(main)
    ''', pes=3)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f'{[3 * i + 1.0 for i in (46, 47, 48, 49)]}\n' * 3 + 'True\n'
