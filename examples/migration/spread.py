"""An array with very uneven work, spread over the PEs by what each element is measured to take.

    c4py run -n 4 examples/migration/spread.py [number of chares]

The runtime places elements in blocks, so those with much work, the last ones here, are together.
After one round main knows how long each has taken, and moves them: the longest first, each to the
PE that has the least so far.  The second round computes the same, on other PEs.
"""

import heapq
import sys
import time

from c4py import Array, Chare, Reducer, Future, charm


class Part(Chare):
    """Looks for perfect numbers in a part of the range; large numbers take longer."""

    def search(self, result):
        began = time.perf_counter()
        first = 40 * self.thisIndex[0] + 1
        found = [n for n in range(first, first + 40)
                 if n == sum(d for d in range(1, n) if n % d == 0)]
        seconds = time.perf_counter() - began
        self.reduce(result, (seconds, charm.myPe(), found), Reducer.gather)


def search(parts):
    """One round: for each part its seconds, its PE, and what it has found."""
    result = Future()
    parts.search(result)
    return result.get()


def plan(seconds):
    """A PE for each part: the longest first, to the PE with the least so far."""
    loads = [(0.0, pe) for pe in range(charm.numPes())]
    places = {}
    for part in sorted(range(len(seconds)), key=lambda part: -seconds[part]):
        load, pe = heapq.heappop(loads)
        heapq.heappush(loads, (load + seconds[part], pe))
        places[part] = pe
    return places


def show(title, outcome):
    loads = [0.0] * charm.numPes()
    for seconds, pe, _ in outcome:
        loads[pe] += seconds
    print(f'{title}: the busiest PE worked for {max(loads):.3f} s, on average they did for '
          f'{sum(loads) / len(loads):.3f} s')


def main(args):
    count = args[1] if len(args) > 1 else '50'
    if not count.isdigit() or count == '0':
        sys.exit(f'spread.py: {count!r} is not a number of chares')
    parts = Array(Part, int(count))
    before = search(parts)
    show('in blocks', before)
    places = plan([seconds for seconds, _, _ in before])
    for part, pe in places.items():
        parts[part].migrate(pe)
    charm.waitQD()                      # all have arrived
    after = search(parts)
    show('spread out', after)
    assert [pe for _, pe, _ in after] == [places[part] for part in range(int(count))]
    print('perfect numbers:', *(number for _, _, found in after for number in found))
    exit()


charm.start(main)
