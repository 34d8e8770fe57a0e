"""Counts the words of text files: an array of chares counts, a dictionary reduction merges.

    c4py run -n 4 examples/wordcount.py [--top N] [file or directory ...]

Without paths it reads every file under /usr/share/common-licenses.  A word is a run of letters
A-Z, in any case; so says `tr -cs A-Za-z '\\n' | tr A-Z a-z`.
"""

import os
import re
import sys
import time

from c4py import Array, Chare, Future, Reducer, charm

DEFAULT = '/usr/share/common-licenses'
CHUNK = 64 * 1024               # bytes that one chare counts at a time
WORD = re.compile(rb'[A-Za-z]+')


def merge(parts):
    """Combine dictionaries of counts."""
    total = {}
    for part in parts:
        for word, count in part.items():
            total[word] = total.get(word, 0) + count
    return total


Reducer.addReducer(merge)


def find_files(paths):
    """The regular files under some paths, each once."""
    found = {}
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    found[os.path.realpath(os.path.join(folder, name))] = None
        elif os.path.isfile(path):
            found[os.path.realpath(path)] = None
        else:
            sys.exit(f'wordcount.py: {path}: no such file or directory')
    return [path for path in found if os.path.isfile(path)]


def pieces(paths):
    """Cut the files into (path, start, end)."""
    cut = []
    for path in paths:
        size = os.path.getsize(path)
        cut += [(path, start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]
    return cut


def read_piece(path, start, end):
    """The words that begin in a piece: a word over the end belongs to where it begins."""
    with open(path, 'rb') as file:
        file.seek(max(start - 1, 0))
        text = file.read(end - max(start - 1, 0))
        if start > 0:           # what began before the piece is the neighbour's
            head = WORD.match(text)
            text = text[head.end():] if head else text[1:]
        while text and WORD.match(text[-1:]):
            more = file.read(256)
            tail = WORD.match(more)
            text += tail.group() if tail else b''
            if not tail or tail.end() < len(more):
                break
    return text


class Counter(Chare):
    """Counts every n-th piece, where n is the number of chares."""

    def __init__(self, work, progress):
        self.work = work[self.thisIndex[0]::self.thisProxy.shape[0]]
        self.progress = progress
        self.counts = {}

    def step(self, done):
        if not self.work:
            self.reduce(done, self.counts, Reducer.merge)
            return
        path, start, end = self.work.pop()
        counts = self.counts
        for word in WORD.findall(read_piece(path, start, end).lower()):
            counts[word] = counts.get(word, 0) + 1
        self.progress.add(end - start)
        self.thisProxy[self.thisIndex].step(done)


class Progress(Chare):
    """Shows on standard error how much has been read, and tells when that is all."""

    def __init__(self, total, everything):
        self.total = total
        self.everything = everything
        self.read = 0
        self.shown = 0

    def add(self, count):
        self.read += count
        percent = 100 * self.read // self.total
        if percent >= self.shown + 10 or percent == 100 and self.shown < 100:
            self.shown = percent
            print(f'  {percent:3d} % of {self.total / 1e6:.1f} MB read', file=sys.stderr)
        if count and self.read == self.total:
            self.everything()


def parse(args):
    top, paths, rest = 10, [], args[1:]
    while rest:
        argument = rest.pop(0)
        if argument == '--top':
            if not rest or not rest[0].isdigit():
                sys.exit('wordcount.py: --top needs a number of words')
            top = int(rest.pop(0))
        else:
            paths.append(argument)
    return top, paths or [DEFAULT]


def main(args):
    top, paths = parse(args)
    began = time.perf_counter()
    files = find_files(paths)
    work = pieces(files)
    if not work:
        sys.exit(f'wordcount.py: nothing to read in {" ".join(paths)}')
    size = sum(end - start for _, start, end in work)
    everything = Future()
    progress = Chare(Progress, args=[size, everything], onPE=0)
    chares = min(4 * charm.numPes(), len(work))
    counters = Array(Counter, chares, args=[work, progress])
    done = Future()
    counters.step(done)
    counts = done.get()
    everything.get()            # the sum may be here before the last that was told of progress
    seconds = time.perf_counter() - began
    for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]:
        print(f'{count:9d} {word.decode()}')
    print(f'{sum(counts.values()):,} words, {len(counts):,} different, in {len(files)} files: '
          f'{chares} chares on {charm.numPes()} PEs, {seconds:.2f} s')
    exit()


charm.start(main)
