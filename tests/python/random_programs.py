"""Random programs of chare calls, futures, reductions and all else, each with its oracle.

    random_programs.py --seed N --pes P     run one program, with its statements and their outcome
    random_programs.py --seeds N-M --pes P  run many, one after the other in one job

A program follows from its seed and the number of PEs; a mismatch is reported with both.  With
--delays, PEs pause at random between their steps (C4P_TEST_DELAYS), which mixes the order of what
happens; two runs then still differ.

`make test` runs 400 programs in all; C4P_RANDOM_PROGRAMS=10000 runs the full set, as does
`make random`.
"""

import argparse
import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from c4py import Group, _c4py, charm            # noqa: E402
from randprog.actor import Actor, drive         # noqa: E402
from randprog.chares import Witness             # noqa: E402
from randprog.plan import Planner               # noqa: E402
from randprog.values import canonical, short    # noqa: E402

ENOUGH = 5              # failing programs, then the job ends
NEGLIGIBLE = 4096       # bytes of messages that are always under way
DELAYS = '0.1,300'      # probability, longest in microseconds


def parse(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--seed', type=int, metavar='N', help='run one program and show it')
    which.add_argument('--seeds', metavar='N-M', help='run these programs')
    parser.add_argument('--pes', type=int, default=2, metavar='P', help='number of PEs')
    parser.add_argument('--delays', action='store_true', help='pause at random')
    parser.add_argument('--by-reference', action='store_true',
                        help='with charm.options.local_msg_optim')
    parser.add_argument('--show', action='store_true', help='show the program without running it')
    return parser.parse_args(arguments)


# ---- what a person sees of a program ----

def show(statements, expected, indent=''):
    """Print a script, and what its statements must report."""
    for number, operation, *details in statements:
        inner = None
        if operation == 'relay':
            target, method, lane, names, inner, slot = details
            details = [target, method, f'lane {lane}', names, slot]
        outcome = f'  -> {short(expected[number])}' if number in expected else ''
        print(f'{indent}{number:4} {operation} {" ".join(map(short, details))}{outcome}')
        if inner is not None:
            show(inner, expected, indent + '      ')


# ---- running one ----

def plan(seed):
    """The program of a seed, for this job."""
    return Planner(seed, charm.numPes(), charm.options.local_msg_optim)


def difference(what, value, want):
    """Lines for a value that is not what it must be."""
    if short(value, 600) == short(want, 600):       # it is the type, or far behind
        value, want = canonical(value), canonical(want)
    return [f'{what}: {short(value, 600)}', f'  must be {short(want, 600)}']


def differences(expected, results):
    """What was reported against what must be: lines."""
    lines = []
    reported = {}
    for number, value in results:
        if number in reported or number not in expected:
            lines.append(f'statement {number}: reported again, or for no reason: {short(value)}')
        reported[number] = value
    for number, value in expected.items():
        if number not in reported:
            lines.append(f'statement {number}: nothing was reported')
        elif canonical(reported[number]) != canonical(value):
            lines += difference(f'statement {number}', reported[number], value)
    return lines


def state_differences(collection, states):
    """The final states of a collection's elements against the oracle's: lines."""
    lines = []
    wanted = collection.final_states()
    if len(states) != len(wanted):
        return [f'{collection.name}: {len(states)} elements of {len(wanted)}']
    for state, want in zip(states, wanted):
        for key, value in want.items():
            if key == 'pe' and value is None:       # the runtime's choice
                continue
            if canonical(state[key]) != canonical(value):
                lines += difference(f'{collection.name}[{want["index"]}].{key}', state[key], value)
    return lines


def check_end(program, actor):
    """Once nothing moves any more: states of all chares, and nothing left in the runtime."""
    charm.waitQD()
    lines = []
    for name, collection in program.collections.items():
        lines += state_differences(collection, actor.proxies[name].state(ret=True).get()
                                   if collection.kind != 'single' else
                                   [actor.proxies[name].state(ret=True).get()])
        actor.proxies[name].forget(awaitable=True).get()
    for name in ('held', 'open_reductions'):
        left = getattr(_c4py, name)()
        if left:
            lines.append(f'{name}: {left} are left')
    return lines


def check_memory():
    """All that was sent has been given back."""
    witness = Group(Witness)
    witness.clean(awaitable=True).get()
    charm.waitQD()
    witness.used(awaitable=True).get()
    used = witness.used(ret=True).get()
    return [] if max(used) < NEGLIGIBLE else [f'bytes of the segment left on each PE: {used}']


def run(seed):
    """Run a program in this job; returns what was wrong with it, lines."""
    program = plan(seed)
    actor = Actor(1, {})
    try:
        results, _ = drive(actor.run(program.script))
        return differences(program.expected, results) + check_end(program, actor)
    except Exception:
        return traceback.format_exc().splitlines()


def main(arguments):
    options = parse(arguments[1:])
    failed = 0
    first, _, last = (options.seeds or str(options.seed)).partition('-')
    for seed in range(int(first), int(last or first) + 1):
        if options.seed is not None:
            program = plan(seed)
            show(program.script, program.expected)
        lines = run(seed)
        print(f'seed {seed}: {"wrong" if lines else "right"}')
        for line in lines[:40]:
            print(f'    {line}')
        failed += bool(lines)
        if failed == ENOUGH:
            break
    left = check_memory() if not failed else []
    print('\n'.join(left), end='\n' * len(left))
    exit(failed > 0 or bool(left))


# ---- starting the job ----

def launch(options):
    """Run this file on PEs, in the place of this process."""
    from harness import over_nodes
    here = os.path.dirname(os.path.abspath(__file__))
    build = os.environ.get('C4P_BUILD', os.path.join(here, '..', '..', 'build'))
    environment = dict(os.environ)
    environment.setdefault('PYTHONPATH', os.path.join(build, 'python'))
    if options.delays:
        seed = (options.seeds or str(options.seed)).partition('-')[0]
        environment['C4P_TEST_DELAYS'] = f'{seed},{DELAYS}'
    command = [os.path.join(build, 'bin', 'c4py'), 'run', '-n', str(options.pes),
               *over_nodes(options.pes), __file__]
    os.execve(command[0], command + sys.argv[1:], environment)


if __name__ == '__main__':
    chosen = parse(sys.argv[1:])
    if 'C4P_PE' in os.environ:
        charm.options.local_msg_optim = chosen.by_reference
        charm.start(main, modules=['randprog.chares'])
    elif chosen.show:
        shown = Planner(chosen.seed, chosen.pes, chosen.by_reference)
        show(shown.script, shown.expected)
    else:
        launch(chosen)
