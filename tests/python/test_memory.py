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
