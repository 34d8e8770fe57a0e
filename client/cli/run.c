#define _GNU_SOURCE
#include "client/cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

#include "client/c4p.h"
#include "client/cli/command.h"
#include "client/cli/console.h"
#include "client/cli/private_daemon.h"

#define CONNECT_MS 20000

struct run {
    struct private_daemon daemon;
    struct console console;
};

/* ---- manner ---- */

static void on_lost(struct console *console, const char *why)
{
    struct run *run = console->context;
    int status;

    (void)why;
    console_leave(console, 1);
    private_daemon_end(&run->daemon);
    status = run->daemon.status;
    if (WIFSIGNALED(status))
        console_say(console,
                    "the daemon c4pd was killed by signal %d (%s); the PEs were ended with it",
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        console_say(console, "the daemon c4pd ended with code %d; the PEs were ended with it",
                    WEXITSTATUS(status));
}

static const struct console_manner manner = {
    .interrupted = console_cancel_job,
    .broken = console_kill_job,
    .lost = on_lost,
};

/* ---- start and end ---- */

static uint32_t cores_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* Every node has a PE at least. */
static uint32_t pes_count(const struct options *options)
{
    uint32_t cores = cores_count();

    if (options->pes != 0)
        return options->pes;
    return cores > options->nodes ? cores : options->nodes;
}

static int job_submit(struct run *run, const struct options *options, const struct command *command)
{
    const struct c4p_job job = {
        .argv = (const char *const *)command->argv,
        .env = (const char *const *)command->env,
        .cwd = command->cwd,
        .pes = pes_count(options),
        .nodes = options->nodes,
        .region_size = options->segment_size,
        .follow = true,
        .input = true,
    };

    if (c4p_submit(run->console.client, &job) >= 0)
        return 0;
    console_say(&run->console, "%s", command_submit_error(errno));
    run->console.exit_code = EXIT_USAGE;
    return -1;
}

static int run_open(struct run *run, const struct options *options)
{
    char error[C4P_ERROR_SIZE];

    run->daemon.lifeline = -1;
    console_open(&run->console, &manner, options);
    run->console.context = run;
    if (private_daemon_start(&run->daemon, options->log_level, error) == 0) {
        /* The client lets go of its own at the very end, when everything is read and said. */
        run->console.client =
            c4p_adopt(fcntl(run->daemon.lifeline, F_DUPFD_CLOEXEC, 0), "c4py", CONNECT_MS, error);
        if (run->console.client != NULL)
            return 0;
        console_say(&run->console, "the daemon c4pd does not come up: %s", error);
    } else {
        console_say(&run->console, "%s", error);
    }
    return -1;
}

static int run_program(const struct options *options, const struct command *command)
{
    struct run run = {0};

    if (run_open(&run, options) == 0 && job_submit(&run, options, command) == 0)
        console_follow(&run.console);
    console_flush(&run.console);
    private_daemon_end(&run.daemon);
    return console_close(&run.console);
}

int run_main(const struct options *options)
{
    struct command command;
    int rc = command_make(&command, "run", options);

    if (rc == 0)
        rc = run_program(options, &command);
    command_free(&command);
    return rc;
}
