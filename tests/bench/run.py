"""``make bench``: what the runtime reaches on this machine, beside the floors of the same run.

Prints a table on standard error and JSON on standard output.  Figures are medians; what counts is
their ratio to the floor, since absolute ones move from machine to machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('C4P_BUILD', os.path.join(ROOT, 'build'))
C4PY = os.path.join(BUILD, 'bin', 'c4py')
C4PD = os.path.join(BUILD, 'bin', 'c4pd')
FLOOR = os.path.join(BUILD, 'tests', 'floor')

EMPTY = """
from c4py import charm
def main(args):
    exit()
charm.start(main)
"""

IDLE = """
import os, sys
import numpy
from c4py import charm, Chare, Group
class Idle(Chare):
    def process(self):
        with open('/proc/self/statm') as statm:
            resident = int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        return os.getpid(), os.getppid(), resident
def main(args):
    print(Group(Idle).process(ret=True).get(), flush=True)
    charm.sleep(3600)
charm.start(main)
"""

CLIENT = """
import json, statistics, sys, time
import c4py
from c4py import Chare
class Echo(Chare):
    def empty(self):
        pass
with c4py.connect(sys.argv[1], pes=2, quiet=True) as session:
    echo = session.Group(Echo)
    def blocking(count):
        began = time.perf_counter()
        for _ in range(count):
            echo[1].empty(ret=True).get()
        return (time.perf_counter() - began) / count * 1e6
    blocking(2000)
    print(json.dumps({'client_ret_us': statistics.median(blocking(20000) for _ in range(5))}))
"""

# name of a row: what it is, unit, target of the first release, larger is better, its floor
ROWS = {
    'empty_round_trip_us': ('empty method, round trip', 'us', 4, False, 'ring_8_us'),
    'bytes_1k_round_trip_us': ('1 KB bytes, round trip', 'us', 6, False, 'ring_8_us'),
    'numpy_64k_round_trip_us': ('64 KB NumPy, round trip', 'us', 40, False, 'copy_64k_us'),
    'numpy_1m_round_trip_us': ('1 MB NumPy, round trip', 'us', 250, False, 'copy_1m_us'),
    'numpy_16m_one_way_gb_s': ('16 MB NumPy, one way', 'GB/s', 6, True, 'memcpy_16m_gb_s'),
    'one_way_per_s': ('one-way empty messages', '/s', 1e6, True, 'one_way_per_s'),
    'same_pe_per_s': ('same-PE messages', '/s', 1e6, True, None),
    'blocking_ret_us': ('blocking ret=True, other PE', 'us', 7, False, 'ring_8_us'),
    'pipelined_ret_per_s': ('pipelined ret=True', '/s', 250e3, True, None),
    'group_broadcast_reduction_per_s': ('group broadcast + empty reduction', '/s', 120e3, True,
                                        None),
    'group_sum_1m_per_s': ('group sum of 1 MB float64', '/s', 4e3, True, None),
    'array_1000_broadcast_reduction_per_s': ('array of 1,000, broadcast + reduction', '/s', 3e3,
                                             True, None),
    'create_per_s': ('create an array of 100,000 chares', '/s', 500e3, True, None),
    'bytes_per_chare': ('resident bytes per trivial chare', 'B', 700, False, None),
    'migrations_per_s': ('migrations of a small chare', '/s', 200e3, True, None),
    'empty_program_s': ('empty program, start to exit, 2 PEs', 's', 0.2, False, 'python_s'),
    'submit_s': ('the same on a running daemon (c4py submit)', 's', 0.15, False, 'python_s'),
    'client_ret_us': ('attached client, blocking ret=True', 'us', 14, False, 'blocking_ret_us'),
    'daemon_rss_mb': ('idle daemon, resident', 'MB', 15, False, None),
    'daemon_cpu_percent': ('idle daemon and 2 PEs, of one core', '%', 0.5, False, None),
    'service_rss_mb': ('idle lasting daemon, resident', 'MB', 15, False, None),
    'service_cpu_percent': ('idle lasting daemon, of one core', '%', 0.5, False, None),
    'pe_rss_mb': ('idle PE over Python + NumPy', 'MB', 8, False, None),
}


def elapsed(command):
    """Seconds that a command takes; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - began


def program(folder, name, source):
    path = os.path.join(folder, name)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(source)
    return path


def measure_rows(rounds, scale):
    """The rows that a running job measures by itself."""
    command = [C4PY, 'run', '-n', '2', os.path.join(HERE, 'rows.py'), str(rounds), str(scale)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True)
    return json.loads(done.stdout)


def measure_floors():
    """What the machine allows: raw ring, copies, one-way messages without Python."""
    done = subprocess.run([FLOOR], check=True, stdout=subprocess.PIPE, universal_newlines=True)
    return json.loads(done.stdout)


def measure_start(python, rounds, folder):
    """Start to exit of an empty program, and of the bare interpreter."""
    path = program(folder, 'empty.py', EMPTY)
    command = [C4PY, 'run', '-n', '2', '--python', python, path]
    elapsed(command)
    return (statistics.median(elapsed(command) for _ in range(rounds)),
            statistics.median(elapsed([python, '-c', 'pass']) for _ in range(rounds)))


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='utf-8') as stat:
        fields = stat.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident(pid):
    with open(f'/proc/{pid}/statm', encoding='utf-8') as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measure_idle(python, seconds, folder):
    """Memory and processor time of a job that has nothing to do."""
    bare = int(subprocess.run(
        [python, '-c', 'import numpy\nprint(int(open("/proc/self/statm").read().split()[1])'
                       ' * __import__("os").sysconf("SC_PAGE_SIZE"))'],
        check=True, stdout=subprocess.PIPE).stdout)
    job = subprocess.Popen([C4PY, 'run', '-n', '2', '--python', python,
                            program(folder, 'idle.py', IDLE)],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           universal_newlines=True)
    try:
        processes = json.loads(job.stdout.readline().replace('(', '[').replace(')', ']'))
        daemon = processes[0][1]
        pids = [daemon] + [pid for pid, _, _ in processes]
        time.sleep(1)               # what start-up left to do is not idling
        before = sum(map(cpu_seconds, pids))
        time.sleep(seconds)
        used = sum(map(cpu_seconds, pids)) - before
        size = resident(daemon)
    finally:
        job.terminate()
        job.wait()
    return {'daemon_rss_mb': size / 2**20,
            'daemon_cpu_percent': 100 * used / seconds,
            'pe_rss_mb': (statistics.mean(rss for _, _, rss in processes) - bare) / 2**20}


def measure_service(python, rounds, seconds, folder):
    """A lasting daemon: a program submitted to it, a client attached to it, and its idling."""
    state = os.path.join(folder, 's')
    daemon = subprocess.Popen([C4PD, 'start', '--foreground', '--state-dir', state, '--pes', '2'],
                              stderr=subprocess.DEVNULL)
    try:
        while subprocess.run([C4PD, 'status', '--state-dir', state], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, check=False).returncode:
            if daemon.poll() is not None:
                sys.exit('the lasting daemon does not start')
        time.sleep(1)               # what start-up left to do is not idling
        before = cpu_seconds(daemon.pid)
        time.sleep(seconds)
        figures = {'service_cpu_percent': 100 * (cpu_seconds(daemon.pid) - before) / seconds,
                   'service_rss_mb': resident(daemon.pid) / 2**20}
        command = [C4PY, 'submit', '--state-dir', state, '-n', '2', '--python', python,
                   program(folder, 'empty.py', EMPTY)]
        elapsed(command)
        figures['submit_s'] = statistics.median(elapsed(command) for _ in range(rounds))
        done = subprocess.run([python, program(folder, 'client.py', CLIENT), state], check=True,
                              stdout=subprocess.PIPE, universal_newlines=True)
        figures.update(json.loads(done.stdout))
    finally:
        daemon.terminate()
        daemon.wait()
    return figures


def ratio(name, value, floors):
    floor = floors.get(ROWS[name][4])
    return value / floor if floor else None


def shown(value):
    return f'{value:.3g}' if value < 1e3 else f'{value:,.0f}'


def markdown_rows(figures, floors):
    """The table as the documents show it."""
    rows = ['| measure, 2 PEs | figure | target | x floor |', '|---|---:|---:|---:|']
    for name, (what, unit, target, _, _) in ROWS.items():
        against = ratio(name, figures[name], floors)
        rows.append(f'| {what} | {shown(figures[name])} {unit} | {shown(target)} {unit} | '
                    f'{against:.2f} |' if against else
                    f'| {what} | {shown(figures[name])} {unit} | {shown(target)} {unit} | |')
    return rows


def update_document(path, rows):
    """Put the rows between the marks of a document."""
    begin, end = '<!-- bench -->', '<!-- /bench -->'
    with open(path, encoding='utf-8') as file:
        text = file.read()
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f'{path}: the marks {begin} and {end} are missing')
    with open(path, 'w', encoding='utf-8') as file:
        file.write('\n'.join([before + begin] + rows + [end + after]))


def print_table(figures, floors):
    line = '{:42} {:>12} {:>5} {:>12} {:>4} {:>10}'
    print(line.format('measure', 'figure', '', 'target', '', 'x floor'), file=sys.stderr)
    for name, (what, unit, target, more, _) in ROWS.items():
        if name not in figures:
            continue
        value = figures[name]
        reached = value >= target if more else value <= target
        against = ratio(name, value, floors)
        print(line.format(what, shown(value), unit, shown(target), 'yes' if reached else 'NO',
                          f'{against:.2f}' if against else ''), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='rounds of each measure (5)')
    parser.add_argument('--scale', type=float, default=1.0, help='length of each round (1.0)')
    parser.add_argument('--idle-seconds', type=float, default=10, help='length of the idle measure')
    parser.add_argument('--python', default=os.environ.get('C4P_PYTHON', '/usr/bin/python3'))
    parser.add_argument('--update-docs', action='store_true',
                        help='put the table into README.md and docs/performance.md')
    options = parser.parse_args()
    floors = measure_floors()
    figures = measure_rows(options.rounds, options.scale)
    with tempfile.TemporaryDirectory() as folder:
        figures['empty_program_s'], floors['python_s'] = measure_start(
            options.python, 2 * options.rounds, folder)
        figures.update(measure_idle(options.python, options.idle_seconds, folder))
        figures.update(measure_service(options.python, 2 * options.rounds, options.idle_seconds,
                                       folder))
    floors['blocking_ret_us'] = figures['blocking_ret_us']
    print_table(figures, floors)
    if options.update_docs:
        for name in ('README.md', os.path.join('docs', 'performance.md')):
            update_document(os.path.join(ROOT, name), markdown_rows(figures, floors))
    print(json.dumps({'figures': figures, 'floors': floors,
                      'ratios': {name: ratio(name, value, floors)
                                 for name, value in figures.items() if ratio(name, value, floors)},
                      'targets': {name: row[2] for name, row in ROWS.items()}}, indent=1))


if __name__ == '__main__':
    main()
