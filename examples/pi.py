"""Computes pi by numerical integration, each PE taking every P-th rectangle.

    c4py run -n 4 examples/pi.py [number of rectangles]
"""

import math
import sys
import time

from c4py import Chare, Future, Group, Reducer, charm


class Worker(Chare):
    """One of the group; knows its share by its index."""

    def integrate(self, rectangles, result):
        width = 1.0 / rectangles
        area = 0.0
        for i in range(self.thisIndex, rectangles, charm.numPes()):
            x = width * (i + 0.5)
            area += 4.0 / (1.0 + x * x)
        self.reduce(result, area * width, Reducer.sum)


def main(args):
    try:
        rectangles = int(args[1]) if len(args) > 1 else 2_000_000
    except ValueError:
        sys.exit(f'pi.py: {args[1]!r} is not a number of rectangles')
    if rectangles < 1:
        sys.exit('pi.py: at least one rectangle is needed')
    began = time.perf_counter()
    result = Future()
    Group(Worker).integrate(rectangles, result)
    pi = result.get()
    print(f'pi is about {pi:.12f} (off by {abs(pi - math.pi):.1e}), from {rectangles:,} rectangles '
          f'on {charm.numPes()} PEs in {time.perf_counter() - began:.2f} s')
    exit()


charm.start(main)
