#define _GNU_SOURCE
#include "daemon/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/announcement.h"
#include "daemon/json.h"
#include "daemon/start.h"

/* An end that takes longer than this is explained. */
#define EXPLAIN_MS 1000

static int not_running(const struct options *options)
{
    if (access(options->state_dir, X_OK) != 0 && errno == EACCES) {
        fprintf(stderr, "c4pd: %s: cannot be looked into: %s\n", options->state_dir,
                strerror(errno));
        return EXIT_CODE_FAILED;
    }
    printf("no daemon runs (%s)\n", options->state_dir);
    return EXIT_CODE_NOT_RUNNING;
}

/* Signal the very process that was found. False, and it is said, if it cannot
 * be. */
static bool daemon_signal(const struct announcement *daemon, int number)
{
    if (pidfd_send_signal(daemon->pidfd, number, NULL, 0) == 0 || errno == ESRCH)
        return true;
    fprintf(stderr, "c4pd: pid %d: cannot be signalled: %s\n", (int)daemon->pid, strerror(errno));
    return false;
}

/* ---- stop ---- */

/* Wait for its end; `ms` negative: for ever. */
static bool daemon_wait(const struct announcement *daemon, int ms)
{
    struct pollfd poller = {daemon->pidfd, POLLIN, 0};
    int rc;

    do
        rc = poll(&poller, 1, ms);
    while (rc < 0 && errno == EINTR);
    return rc > 0;
}

static int daemon_end(const struct announcement *daemon, const struct options *options)
{
    int limit = options->timed ? (int)options->timeout_ms : -1;
    int first = limit >= 0 && limit < EXPLAIN_MS ? limit : EXPLAIN_MS;

    if (!daemon_signal(daemon, options->now ? SIGQUIT : SIGTERM))
        return EXIT_CODE_FAILED;
    if (daemon_wait(daemon, first))
        return EXIT_CODE_OK;
    if (limit != first && !options->now)
        fprintf(stderr, "c4pd: pid %d lets what runs come to its end (c4pd stop --now ends it)\n",
                (int)daemon->pid);
    if (limit != first && daemon_wait(daemon, limit < 0 ? -1 : limit - first))
        return EXIT_CODE_OK;
    fprintf(stderr, "c4pd: pid %d still runs, and goes on ending%s\n", (int)daemon->pid,
            options->now ? "" : " (c4pd stop --now ends at once what runs)");
    return EXIT_CODE_FAILED;
}

int stop_main(const struct options *options)
{
    struct announcement daemon;
    int code;

    if (!announcement_find(options->state_dir, &daemon))
        return not_running(options);
    code = daemon_end(&daemon, options);
    close(daemon.pidfd);
    if (code == EXIT_CODE_OK)
        printf("c4pd has ended: pid %d\n", (int)daemon.pid);
    return code;
}

int restart_main(const struct options *options)
{
    struct config config;
    int code;

    /* What cannot be started again is better not stopped. */
    code = options_config(options, &config);
    if (code != EXIT_CODE_OK)
        return code;
    code = stop_main(options);
    if (code != EXIT_CODE_OK && code != EXIT_CODE_NOT_RUNNING)
        return code;
    fflush(stdout);
    return start_main(options);
}

/* ---- reload, status ---- */

int reload_main(const struct options *options)
{
    struct announcement daemon;
    bool done;

    if (!announcement_find(options->state_dir, &daemon))
        return not_running(options);
    done = daemon_signal(&daemon, SIGHUP);
    close(daemon.pidfd);
    if (!done)
        return EXIT_CODE_FAILED;
    printf("c4pd reads its configuration again: pid %d (its log says what changes)\n",
           (int)daemon.pid);
    return EXIT_CODE_OK;
}

static void status_print(const struct options *options, const struct announcement *daemon)
{
    const uint64_t pes = daemon->config.values[CONFIG_PES].number;
    const time_t since = (time_t)daemon->since;
    struct tm local;
    char text[40];

    localtime_r(&since, &local);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local);
    printf("c4pd runs: pid %d since %s, ", (int)daemon->pid, text);
    if (daemon->config_known)
        printf("%" PRIu64 " PE%s, ", pes, pes == 1 ? "" : "s");
    printf("%s\n", options->state_dir);
}

static void status_print_json(const struct options *options, const struct announcement *daemon)
{
    const time_t since = daemon != NULL ? (time_t)daemon->since : 0;
    struct tm utc;
    char text[40];

    printf("{\"running\": %s, \"state_dir\": ", daemon != NULL ? "true" : "false");
    json_put_string(stdout, options->state_dir);
    if (daemon != NULL) {
        gmtime_r(&since, &utc);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
        printf(", \"pid\": %d, \"since\": \"%s\", ", (int)daemon->pid, text);
        if (daemon->config_known)
            printf("\"pes\": %" PRIu64 ", ", daemon->config.values[CONFIG_PES].number);
        printf("\"version\": ");
        json_put_string(stdout, daemon->version);
    }
    puts("}");
}

int status_main(const struct options *options)
{
    struct announcement daemon;
    bool runs = announcement_find(options->state_dir, &daemon);

    if (options->json)
        status_print_json(options, runs ? &daemon : NULL);
    else if (runs)
        status_print(options, &daemon);
    if (!runs)
        return options->json ? EXIT_CODE_NOT_RUNNING : not_running(options);
    close(daemon.pidfd);
    return EXIT_CODE_OK;
}
