/*
 * The commands of c4py, each with its table of options.
 */
#include <stddef.h>

#include "client/cli/options.h"
#include "client/cli/values.h"

#define AT(member) offsetof(struct options, member)
#define ANY_NUMBER SIZE_MAX

/* Which commands have an option. */
enum {
    RUN = 1 << 0,
    SUBMIT = 1 << 1,
    JOBS = 1 << 2,
    STATUS = 1 << 3,
    LOGS = 1 << 4,
    ATTACH = 1 << 5,
    WAIT = 1 << 6,
    CANCEL = 1 << 7,
    SESSIONS = 1 << 8,
    END = 1 << 9,
    PROGRAM = RUN | SUBMIT,
    SERVICE = ~RUN,
    REMOTE = SERVICE & ~(SESSIONS | END)
};

/* ---- options ---- */

const struct option_row option_rows[] = {
    {"--pes", "-n", "N", "number of PEs (processes); default: one for each core", set_pes, 0, RUN},
    {"--pes", "-n", "N", "number of PEs; default: all that are free, at least 1", set_pes, 0,
     SUBMIT},
    {"--nodes", NULL, "K", "try the program as it would run on K hosts: PEs are dealt to K nodes",
     set_nodes, 0, RUN},
    {"--label", NULL, NULL, "put the number of its PE before each line of output", set_flag,
     AT(label), RUN | SUBMIT | LOGS | ATTACH},
    {"--python", NULL, "PATH", "interpreter; default: $C4P_PYTHON, or " C4P_PYTHON, set_text,
     AT(python), PROGRAM},
    {"--module", "-m", "NAME", "run a module instead of a file, as python3 -m does", set_text,
     AT(module), PROGRAM},
    {"--exec", NULL, NULL, "launch the command as it is, without an interpreter", set_flag,
     AT(exec), PROGRAM},
    {"--segment-size", NULL, "SIZE",
     "memory for what a PE has sent and nobody has done with, like 512M or 4G", set_segment_size, 0,
     PROGRAM},
    {"--env", NULL, "K=V", "set an environment variable of the program; may be repeated", set_env,
     0, PROGRAM},
    {"--cwd", NULL, "DIR", "directory in which the program runs; default: this one", set_text,
     AT(cwd), PROGRAM},
    {"--include", NULL, "PATH",
     "file or directory that the program needs on other hosts; may be repeated", set_include, 0,
     SUBMIT},
    {"--no-bundle", NULL, NULL, "take no files along: every host has them at the same place",
     set_flag, AT(no_bundle), SUBMIT},
    {"--log-level", NULL, "LEVEL", "what the daemon logs: error, warning, info or debug",
     set_log_level, 0, RUN},
    {"--name", NULL, "NAME", "what the job is called; default: the program's name", set_name, 0,
     SUBMIT},
    {"--priority", NULL, "N", "jobs of a higher one go first; default: 0", set_priority, 0, SUBMIT},
    {"--time-limit", NULL, "TIME", "end it when it has run so long, like 90s or 1h30m",
     set_time_limit, 0, SUBMIT},
    {"--detach", "-d", NULL, "print the job's id and leave it to the daemon", set_flag, AT(detach),
     SUBMIT},
    {"--all", "-a", NULL, "also those that are over", set_flag, AT(all), JOBS},
    {"--last", NULL, "N", "only the N that were submitted last, over or not", set_last, 0, JOBS},
    {"--ids", NULL, NULL, "nothing but the ids, one per line", set_flag, AT(ids), JOBS | SESSIONS},
    {"--follow", "-f", NULL, "go on with what comes, to the end of the job", set_flag, AT(follow),
     LOGS},
    {"--tail", NULL, "N", "only the last N lines of what is kept", set_tail, 0, LOGS},
    {"--resume", NULL, NULL, "go on where the client that followed the job before had got to",
     set_flag, AT(resume), ATTACH},
    {"--no-input", NULL, NULL, "leave standard input alone", set_flag, AT(no_input), ATTACH},
    {"--timeout", NULL, "TIME", "give up after this time (exit code 124), like 90s or 1h30m",
     set_timeout, 0, WAIT},
    {"--kill", NULL, NULL, "at once, without a chance to clean up", set_flag, AT(kill), CANCEL},
    {"--json", NULL, NULL, "as JSON, for programs; c4py(1) describes it", set_flag, AT(json),
     RUN | SERVICE},
    {"--state-dir", NULL, "DIR",
     "where the daemon lives; default: $C4P_STATE_DIR, or the user's own", set_text, AT(state_dir),
     SERVICE},
    {"--via", NULL, "FILE",
     "a cluster that this machine is no node of, with this key file; default: $C4P_VIA", set_text,
     AT(via), REMOTE},
    {"--help", "-h", NULL, "show this", set_flag, AT(help), RUN | SERVICE},
    {NULL, NULL, NULL, NULL, NULL, 0, 0},
};

/* ---- programs ---- */

#define APP "[options] [--] app.py [arguments ...]"
#define COMMAND "[options] --exec [--] command [arguments ...]"

const struct command_line run_line = {
    .name = "run",
    .brief = "run a program on this machine, without a daemon",
    .forms = {APP, COMMAND},
    .about =
        "Run a program of chares on this machine. It needs no set-up: a private daemon is started\n"
        "for the run and leaves nothing behind. The exit code is that of the program. Ctrl-C "
        "stops\n"
        "it, a second one kills it. Standard input goes to PE 0.\n",
    .bit = RUN,
    .program = true,
};

const struct command_line submit_line = {
    .name = "submit",
    .brief = "hand a program to the daemon and follow it",
    .forms = {APP, COMMAND},
    .about =
        "Hand a program of chares to the daemon, which runs it when enough PEs are free, and\n"
        "follow it to its end: its output appears here, standard input goes to PE 0, the exit\n"
        "code is that of the program. Ctrl-C cancels it, a second one kills it. If this command\n"
        "dies or the terminal is closed, the job goes on; c4py attach picks it up.\n",
    .bit = SUBMIT,
    .program = true,
};

/* ---- jobs ---- */

const struct command_line jobs_line = {
    .name = "jobs",
    .brief = "list the jobs",
    .forms = {"[options]"},
    .about = "List the jobs of the daemon in the order of submission: how they are, for how long\n"
             "they have been so, and what they wait for or why they ended.\n",
    .bit = JOBS,
};

const struct command_line status_line = {
    .name = "status",
    .brief = "how the daemon is",
    .forms = {"[options]"},
    .about = "Say how the daemon is. The exit code is 1 if there is none.\n",
    .bit = STATUS,
};

#define JOB_WORD                                                                                   \
    "A job is named by its id, by its name if there is only one of that name, or by the\n"         \
    "beginning of its id.\n"

const struct command_line logs_line = {
    .name = "logs",
    .brief = "show what a job wrote",
    .forms = {"[options] JOB"},
    .about = "Show what is kept of the output of a job, over or not: what its PEs wrote to their\n"
             "standard output and standard error goes to ours.\n" JOB_WORD,
    .bit = LOGS,
    .word = "JOB",
    .least = 1,
    .most = 1,
};

const struct command_line attach_line = {
    .name = "attach",
    .brief = "follow a job that was submitted before",
    .forms = {"[options] JOB"},
    .about =
        "Follow a job to its end: all of its output that is kept, then what comes, each piece\n"
        "once. Standard input goes to PE 0, unless another client sends it. The exit code is\n"
        "that of the program. Ctrl-C detaches: the job goes on.\n" JOB_WORD,
    .bit = ATTACH,
    .word = "JOB",
    .least = 1,
    .most = 1,
};

const struct command_line wait_line = {
    .name = "wait",
    .brief = "wait until jobs are over",
    .forms = {"[options] JOB ..."},
    .about =
        "Wait until all of these jobs are over. The exit code is 0 if they succeeded, or that\n"
        "of the last in this list that did not.\n" JOB_WORD,
    .bit = WAIT,
    .word = "JOB",
    .least = 1,
    .most = ANY_NUMBER,
};

const struct command_line cancel_line = {
    .name = "cancel",
    .brief = "end jobs",
    .forms = {"[options] JOB ..."},
    .about = "End jobs that run, and take those that wait out of the queue. Prints their ids. The\n"
             "exit code is 1 if one of them is not known, or over already.\n" JOB_WORD,
    .bit = CANCEL,
    .word = "JOB",
    .least = 1,
    .most = ANY_NUMBER,
};

/* ---- sessions ---- */

const struct command_line sessions_line = {
    .name = "sessions",
    .brief = "list the sessions",
    .forms = {"[options]"},
    .about = "List the sessions: jobs whose driver is a client that attached, like a notebook.\n",
    .bit = SESSIONS,
};

const struct command_line end_line = {
    .name = "end",
    .brief = "end a session",
    .forms = {"[options] SESSION"},
    .about =
        "End a session, for every client that is in it. It is named by its name, by its id or\n"
        "by the beginning of its id. Prints its id.\n",
    .bit = END,
    .word = "SESSION",
    .least = 1,
    .most = 1,
};
