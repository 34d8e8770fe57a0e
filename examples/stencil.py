"""Jacobi iteration for the heat in a plate: a 2-D array of blocks that exchange their edges.

    c4py run -n 4 examples/stencil.py [size of the plate] [blocks in each direction] [iterations]

Each block sends its four edges to its neighbours as NumPy arrays, by ordinary entry methods, and
computes when all that it waits for have come; nothing synchronises the whole plate until the end.
"""

import sys
import time

import numpy as np

from c4py import Array, Chare, Future, Reducer, charm

HOT = 1.0                       # the top edge of the plate; the others are at 0
LEFT, RIGHT, UP, DOWN = range(4)


class Block(Chare):
    """A square part of the plate, with a border of one cell for the neighbours' edges."""

    def __init__(self, side, iterations, result):
        self.side = side
        self.iterations = iterations
        self.result = result
        self.heat = np.zeros((side + 2, side + 2))
        row, column = self.thisIndex
        rows, columns = self.thisProxy.shape
        if row == 0:
            self.heat[0, :] = HOT
        self.neighbours = {}
        if column > 0:
            self.neighbours[LEFT] = self.thisProxy[row, column - 1]
        if column + 1 < columns:
            self.neighbours[RIGHT] = self.thisProxy[row, column + 1]
        if row > 0:
            self.neighbours[UP] = self.thisProxy[row - 1, column]
        if row + 1 < rows:
            self.neighbours[DOWN] = self.thisProxy[row + 1, column]
        self.iteration = 0
        self.early = []         # edges of neighbours that are one iteration ahead
        self.missing = len(self.neighbours)

    def start(self):
        if self.iterations == 0:
            self.finish(0.0)
        else:
            self.send_edges()

    def send_edges(self):
        heat, sent = self.heat, self.neighbours
        if LEFT in sent:
            sent[LEFT].edge(self.iteration, RIGHT, heat[1:-1, 1])
        if RIGHT in sent:
            sent[RIGHT].edge(self.iteration, LEFT, heat[1:-1, -2])
        if UP in sent:
            sent[UP].edge(self.iteration, DOWN, heat[1, 1:-1])
        if DOWN in sent:
            sent[DOWN].edge(self.iteration, UP, heat[-2, 1:-1])
        if not sent:
            self.compute()

    def edge(self, iteration, side, values):
        if iteration > self.iteration:
            self.early.append((side, values))
            return
        self.put_edge(side, values)
        if self.missing == 0:
            self.compute()

    def put_edge(self, side, values):
        if side == LEFT:
            self.heat[1:-1, 0] = values
        elif side == RIGHT:
            self.heat[1:-1, -1] = values
        elif side == UP:
            self.heat[0, 1:-1] = values
        else:
            self.heat[-1, 1:-1] = values
        self.missing -= 1

    def compute(self):
        heat = self.heat
        new = 0.25 * (heat[:-2, 1:-1] + heat[2:, 1:-1] + heat[1:-1, :-2] + heat[1:-1, 2:])
        change = float(np.abs(new - heat[1:-1, 1:-1]).max())
        heat[1:-1, 1:-1] = new
        self.iteration += 1
        self.missing = len(self.neighbours)
        if self.iteration == self.iterations:
            self.finish(change)
            return
        early, self.early = self.early, []
        self.send_edges()
        for side, values in early:
            self.put_edge(side, values)
        if early and self.missing == 0:
            self.compute()

    def finish(self, change):
        inner = self.heat[1:-1, 1:-1]
        self.reduce(self.result, np.array([inner.sum(), change]), Reducer.gather)


def numbers(args):
    given = []
    for name, text, default in zip(('size', 'blocks', 'iterations'), args[1:] + [''] * 3,
                                   (1024, 4, 100)):
        if text and not text.isdigit():
            sys.exit(f'stencil.py: {name}: {text!r} is not a number')
        given.append(int(text) if text else default)
    return given


def main(args):
    size, blocks, iterations = numbers(args)
    if blocks < 1 or size < blocks or size % blocks:
        sys.exit(f'stencil.py: {blocks} blocks do not divide a plate of {size} cells')
    began = time.perf_counter()
    result = Future()
    plate = Array(Block, (blocks, blocks), args=[size // blocks, iterations, result])
    plate.start()
    parts = np.array(result.get())
    seconds = time.perf_counter() - began
    print(f'{size} x {size} cells in {blocks} x {blocks} blocks, {iterations} iterations: '
          f'mean heat {parts[:, 0].sum() / size**2:.6f}, last change {parts[:, 1].max():.2e}')
    print(f'{charm.numPes()} PEs, {seconds:.2f} s, '
          f'{size**2 * iterations / seconds / 1e6:.0f} million cells a second')
    exit()


charm.start(main)
