"""What a job reaches whose two PEs are on two hosts, beside raw ZeroMQ under CURVE in the same run.

The hosts are two network namespaces with a veth between them, each with a daemon of its own (needs
root and ``ip``); without, or with ``--local``, two nodes of one private daemon, and the raw figures
are over 127.0.0.1, and nothing is cancelled, which takes a daemon that stays.  Prints a table on
standard error and JSON on standard output.
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

from run import BUILD, C4PD, C4PY, HERE

RAW = os.path.join(BUILD, 'tests', 'raw')
PROGRAM = os.path.join(HERE, 'hosts_rows.py')
TREE = os.path.join(HERE, 'hosts_tree.py')
CANCEL = os.path.join(HERE, 'hosts_cancel.py')

# name of a row: what it is, unit, its floor, target as a factor of it, larger is better
ROWS = {
    'round_trip_us': ('empty method, round trip', 'us', 'raw_round_trip_us', 2.0, False),
    'numpy_16m_gb_s': ('16 MB NumPy, one way', 'GB/s', 'raw_16m_one_way_gb_s', 0.9, True),
    'one_way_per_s': ('one-way empty messages', '/s', 'raw_one_way_per_s', 0.5, True),
    'reduction_ms': ('1 MB reduction, 4 hosts x 2 PEs', 'ms', 'raw_gather_ms', 1.5, False),
}

# ... and of those that have no floor: what it is, unit, target, which it may not exceed
CANCELS = {'sleep': 'sleep', 'compute': 'compute', 'deaf': 'ignore SIGTERM'}
LIMITS = {f'cancel_{how}_ms': (f'cancel, 4 hosts x 2 PEs: {what}', 'ms', 1000)
          for how, what in CANCELS.items()}


def run(*command, **options):
    """Run a command that has to succeed; its standard output."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True,
                          timeout=300, **options)
    return done.stdout


class Hosts:
    """Network namespaces with a bridge between them, and how commands get into them."""

    def __init__(self, stack, count):
        prefix = f'c4pb{os.getpid()}'
        self.names = [f'{prefix}{side}' for side in 'abcd'[:count]]
        self.addresses = [f'10.78.0.{side + 1}' for side in range(count)]
        middle = f'{prefix}s'
        for name in [middle, *self.names]:
            run('ip', 'netns', 'add', name)
            stack.callback(run, 'ip', 'netns', 'delete', name)
        run('ip', '-n', middle, 'link', 'add', 'bridge', 'type', 'bridge')
        run('ip', '-n', middle, 'link', 'set', 'bridge', 'up')
        for name, address in zip(self.names, self.addresses):
            port = f'port{name[-1]}'
            run('ip', 'link', 'add', 'wire', 'netns', name, 'type', 'veth',
                'peer', 'name', port, 'netns', middle)
            run('ip', '-n', middle, 'link', 'set', port, 'master', 'bridge', 'up')
            run('ip', '-n', name, 'address', 'add', f'{address}/24', 'dev', 'wire')
            run('ip', '-n', name, 'link', 'set', 'wire', 'up')
            run('ip', '-n', name, 'link', 'set', 'lo', 'up')

    def command(self, side, *words):
        return ['ip', 'netns', 'exec', self.names[side], *words]


class Local:
    """No hosts: everything is here."""

    def __init__(self, count):
        self.addresses = ['127.0.0.1'] * count

    def command(self, _, *words):
        return list(words)


def possible():
    """Can there be namespaces here?"""
    return os.geteuid() == 0 and shutil.which('ip') is not None


def measure_raw(hosts, rounds, scale):
    """ZeroMQ under CURVE by itself, from one host to the other."""
    address = f'tcp://{hosts.addresses[0]}:17999'
    server = subprocess.Popen(hosts.command(0, RAW, 'serve', address))
    try:
        return json.loads(run(*hosts.command(1, RAW, 'ask', address, str(rounds), str(scale))))
    finally:
        server.terminate()
        server.wait()


def measure_gather(hosts, rounds):
    """... and from three hosts to a fourth at the same time, as in a tree of reductions."""
    ends = [f'tcp://{address}:{17990 + side}' for side, address in enumerate(hosts.addresses)][1:]
    servers = [subprocess.Popen(hosts.command(side + 1, RAW, 'serve', end))
               for side, end in enumerate(ends)]
    try:
        return json.loads(run(*hosts.command(0, RAW, 'gather', *ends, str(10 * rounds))))
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def wait_until(condition, what):
    """Until it is true, for half a minute."""
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            sys.exit(f'{what}: not in time')
        time.sleep(0.05)


def nodes_free(state, pes):
    """How many nodes with so many free PEs the daemon here knows; 0: it does not answer."""
    done = subprocess.run([C4PD, 'nodes', '--state-dir', state], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          universal_newlines=True)
    return done.stdout.count(f' {pes}/{pes} ')


def daemon_start(stack, hosts, side, state, pes):
    """A daemon with some PEs on a host, ended with the stack."""
    daemon = subprocess.Popen(
        hosts.command(side, C4PD, 'start', '--foreground', '--state-dir', state, '--pes', str(pes),
                      '--advertise', hosts.addresses[side]), stderr=subprocess.DEVNULL)
    stack.callback(daemon.wait)
    stack.callback(daemon.terminate)
    wait_until(lambda: nodes_free(state, pes) > 0, 'a daemon starts')


def cluster_make(stack, hosts, pes):
    """Daemons that know each other; the state directory of the first. None: there are no hosts."""
    if isinstance(hosts, Local):
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    states = [os.path.join(folder, side) for side in 'abcd'[:len(hosts.addresses)]]
    run(C4PD, 'init', '--state-dir', states[0], '--node', 'a')
    daemon_start(stack, hosts, 0, states[0], pes)
    for side, state in enumerate(states[1:], 1):
        token = run(C4PD, 'token', '--state-dir', states[0]).split()[-1]
        run(*hosts.command(side, C4PD, 'join', '--state-dir', state, '--name', 'abcd'[side], token))
        daemon_start(stack, hosts, side, state, pes)
    wait_until(lambda: nodes_free(states[0], pes) == len(states), 'all nodes')
    return states[0]


def job_command(hosts, pes, python, state):
    """What runs a program with so many PEs on each host, to its end."""
    nodes = len(hosts.addresses)
    if state is None:
        return [C4PY, 'run', '--nodes', str(nodes), '-n', str(nodes * pes), '--python', python]
    return hosts.command(0, C4PY, 'submit', '--state-dir', state, '-n', str(nodes * pes),
                         '--python', python)


def measure_job(hosts, pes, python, state, *program):
    """A job's own figures: it prints them."""
    return json.loads(run(*job_command(hosts, pes, python, state), *program))


def cancel(command, hosts, state, pes, how):
    """From the start of ``c4py cancel`` until the last of so many PEs is gone, in ms."""
    submit = subprocess.Popen([*command, CANCEL, how], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, universal_newlines=True)
    alive = select.poll()
    left = {os.pidfd_open(int(submit.stdout.readline())) for _ in range(pes)}
    try:
        for process in left:
            alive.register(process, select.POLLIN)
        job = json.loads(run(C4PY, 'jobs', '--state-dir', state, '--json'))[0]['id']
        begun = time.monotonic()
        done = subprocess.Popen(hosts.command(0, C4PY, 'cancel', '--state-dir', state, job),
                                stdout=subprocess.DEVNULL)
        gone = 0
        while gone < pes:
            for process, _ in alive.poll(30000) or sys.exit('a PE outlives its job'):
                alive.unregister(process)
                gone += 1
        taken = time.monotonic() - begun
        done.wait()
    finally:
        for process in left:
            os.close(process)
        submit.stdout.close()
        submit.wait()
    return 1e3 * taken


def measure_cancels(hosts, pes, python, state, rounds):
    """The slowest of several jobs that are cancelled, for each thing that their PEs do."""
    command = job_command(hosts, pes, python, state)
    count = pes * len(hosts.addresses)
    return {f'cancel_{how}_ms': max(cancel(command, hosts, state, count, how)
                                    for _ in range(rounds)) for how in CANCELS}


def print_table(figures):
    line = '{:40} {:>12} {:>5} {:>12} {:>8} {:>8} {:>4}'
    print(line.format('measure, 1 PE on each of 2 hosts', 'figure', '', 'raw', 'x raw', 'target',
                      ''), file=sys.stderr)
    for name, (what, unit, floor, target, more) in ROWS.items():
        ratio = figures[name] / figures[floor]
        reached = ratio >= target if more else ratio <= target
        print(line.format(what, f'{figures[name]:,.4g}', unit, f'{figures[floor]:,.4g}',
                          f'{ratio:.2f}', f'{target}', 'yes' if reached else 'NO'),
              file=sys.stderr)
    for name, (what, unit, limit) in LIMITS.items():
        if name in figures:
            print(line.format(what, f'{figures[name]:,.4g}', unit, '', '', f'{limit:,}',
                              'yes' if figures[name] <= limit else 'NO'), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='rounds of each measure (5)')
    parser.add_argument('--scale', type=float, default=1.0, help='length of each round (1.0)')
    parser.add_argument('--local', action='store_true', help='two nodes of one private daemon')
    parser.add_argument('--python', default=os.environ.get('C4P_PYTHON', '/usr/bin/python3'))
    options = parser.parse_args()
    local = options.local or not possible()
    rounds, scale = str(options.rounds), str(options.scale)
    with contextlib.ExitStack() as stack:
        hosts = Local(2) if local else Hosts(stack, 2)
        figures = measure_raw(hosts, options.rounds, options.scale)
        state = cluster_make(stack, hosts, 1)
        figures.update(measure_job(hosts, 1, options.python, state, PROGRAM, rounds, scale))
    with contextlib.ExitStack() as stack:
        hosts = Local(4) if local else Hosts(stack, 4)
        figures.update(measure_gather(hosts, options.rounds))
        state = cluster_make(stack, hosts, 2)
        figures.update(measure_job(hosts, 2, options.python, state, TREE, rounds))
        if state is not None:
            figures.update(measure_cancels(hosts, 2, options.python, state, options.rounds))
    figures['hosts'] = not local
    print_table(figures)
    print(json.dumps(figures, indent=1))


if __name__ == '__main__':
    main()
