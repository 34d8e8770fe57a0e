"""A group has one chare on every PE; each says where it is, one after the other.

    c4py run -n 4 examples/hello/group.py
"""

from c4py import Chare, Group, charm


class Hello(Chare):
    def greet(self):
        print(f'hello from PE {charm.myPe()} of {charm.numPes()}')
        if self.thisIndex + 1 < charm.numPes():
            self.thisProxy[self.thisIndex + 1].greet()
        else:
            exit()


def main(args):
    Group(Hello)[0].greet()


charm.start(main)
