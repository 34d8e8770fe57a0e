"""What people get wrong when they set a cluster up, and what the machines get wrong."""

import subprocess

from harness import wait_until

HELLO = """
    from c4py import charm
    def main(args):
        print("hello from", charm.numPes(), "PEs")
        exit()
    charm.start(main)
"""


def test_a_seed_that_cannot_be_reached_is_named(make_bed):
    bed = make_bed(2)
    a, b = bed.hosts
    a.c4pd("init")
    a.start_daemon()
    gone = a.c4pd("token", "--address", "10.77.0.9:7227").stdout.strip()
    done = b.c4pd("join", gone, "--timeout", "2s", check=False)
    assert done.returncode != 0 and "10.77.0.9:7227" in done.stderr
    nameless = a.c4pd("token", "--address", "no-such-host.invalid:7227").stdout.strip()
    done = b.c4pd("join", nameless, "--timeout", "2s", check=False)
    assert done.returncode != 0 and "no-such-host.invalid" in done.stderr
    good = a.c4pd("token").stdout.strip()
    for bad in (good[:-3], good[:20] + "x" + good[21:], "rubbish", ""):
        done = b.c4pd("join", bad, check=False)
        assert done.returncode != 0 and "token" in done.stderr, bad
    assert b.c4pd("nodes", check=False).returncode != 0, "it has joined nothing"
    b.c4pd("join", good)


def test_a_port_in_use_is_named(make_bed):
    bed = make_bed(2)
    a = bed.hosts[0]
    a.c4pd("init")
    holder = a.start("python3", "-c", "import socket,sys; s=socket.socket(); s.bind(('', 7227)); "
                     "s.listen(); print('ok', flush=True); sys.stdin.read()",
                     stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "ok\n"
    done = a.c4pd("start", check=False)
    assert done.returncode != 0 and "7227" in done.stderr and "listen" in done.stderr
    holder.stdin.close()
    holder.wait(10)
    a.start_daemon()


def test_a_second_host_of_one_name_has_to_choose_another(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    a.c4pd("init")
    a.start_daemon()
    b.c4pd("join", a.c4pd("token").stdout.strip())
    token = a.c4pd("token", "--uses", 2).stdout.strip()
    done = c.c4pd("join", token, "--name", "b", check=False)
    assert done.returncode != 0 and "a node b already" in done.stderr and "--name" in done.stderr
    c.c4pd("join", token, "--name", "b2")
    assert set(a.nodes()) == {"a", "b", "b2"}


def test_a_job_that_is_larger_than_the_cluster_starts_when_a_host_joins(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form(hosts=[a, b])
    job = a.detach(HELLO, 6)
    assert wait_until(lambda: "the cluster has 4" in a.jobs()[job]["reason"], 20), a.jobs()[job]
    assert a.submit(HELLO, 4).stdout == "hello from 4 PEs\n", "it holds nobody up"
    c.c4pd("join", a.c4pd("token").stdout.strip())
    c.start_daemon()
    assert a.wait_for(job, "completed")["exit_code"] == 0
    assert a.c4py("logs", job).stdout == "hello from 6 PEs\n"


def test_a_host_without_the_needed_python_is_left_out_and_named(make_bed):
    bed = make_bed(3)
    a, b, c = bed.hosts
    bed.form()
    a.write("site/rare.py", "value = 1")
    c.write("site/rare.py", "value = 1")
    a.write("work/main.py", """
        import rare
        from c4py import charm
        def main(args):
            print("hello from", charm.numPes(), "PEs", rare.value)
            exit()
        charm.start(main)
    """)
    env = {"PYTHONPATH": "/home/user/site"}
    done = a.c4py("submit", "-n", 4, "work/main.py", env=env)
    assert done.stdout == "hello from 4 PEs 1\n"
    job = a.c4py("submit", "--detach", "-n", 6, "work/main.py", env=env).stdout.strip()
    assert wait_until(lambda: "rare" in a.jobs()[job]["reason"], 30), a.jobs()[job]
    assert "b" in a.jobs()[job]["reason"]


def test_hosts_whose_clocks_jump_stay_members(cluster, tmp_path):
    """The time of day is set forth and back under the daemon: nothing that decides is in it."""
    a, b, c = cluster.hosts
    shim = tmp_path / "clock.so"
    source = tmp_path / "clock.c"
    source.write_text(r"""
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <time.h>
        #include <unistd.h>
        static long shift(void)
        {
            long seconds = 0;
            FILE *file = fopen("/home/user/shift", "re");
            if (file != NULL && fscanf(file, "%ld", &seconds) != 1)
                seconds = 0;
            if (file != NULL)
                fclose(file);
            return seconds;
        }
        int clock_gettime(clockid_t clock, struct timespec *time)
        {
            int rc = (int)syscall(SYS_clock_gettime, clock, time);
            if (clock == CLOCK_REALTIME)
                time->tv_sec += shift();
            return rc;
        }
        int gettimeofday(struct timeval *time, void *zone)
        {
            struct timespec now;
            (void)zone;
            clock_gettime(CLOCK_REALTIME, &now);
            time->tv_sec = now.tv_sec;
            time->tv_usec = now.tv_nsec / 1000;
            return 0;
        }
        time_t time(time_t *where)
        {
            struct timespec now;
            clock_gettime(CLOCK_REALTIME, &now);
            if (where != NULL)
                *where = now.tv_sec;
            return now.tv_sec;
        }
    """)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", source, "-o", shim], check=True)
    b.stop_daemon()
    b.start_daemon(env={"LD_PRELOAD": str(shim)})
    a.sees({"b": "alive"})
    for seconds in (86400, -86400, 10 ** 9, 0):
        b.write("shift", str(seconds))
        started = a.submit(HELLO, 6)
        assert started.stdout == "hello from 6 PEs\n"
        assert set(a.nodes().values()) == {"alive"}
        assert set(b.nodes().values()) == {"alive"}
