"""An array has as many chares as you like; these greet, and main waits for all of them.

    c4py run -n 4 examples/hello/array.py [number of chares]
"""

import sys

from c4py import Array, Chare, charm


class Hello(Chare):
    def greet(self, who):
        print(f'{who} from chare {self.thisIndex[0]} on PE {charm.myPe()}')


def main(args):
    count = args[1] if len(args) > 1 else '8'
    if not count.isdigit() or count == '0':
        sys.exit(f'array.py: {count!r} is not a number of chares')
    chares = Array(Hello, int(count))
    chares.greet('hello', awaitable=True).get()
    exit()


charm.start(main)
