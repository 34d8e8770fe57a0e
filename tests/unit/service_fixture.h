/*
 * What the tests of a service share: a whole daemon in a process of its own, and clients of it.
 */
#ifndef C4P_TESTS_SERVICE_FIXTURE_H
#define C4P_TESTS_SERVICE_FIXTURE_H

#include "tests/unit/unit.h"

#include <event2/event.h>
#include <ftw.h>

#include "client/c4p.h"
#include "daemon/jobs/spawn.h"
#include "daemon/router/plane.h"
#include "daemon/service.h"
#include "daemon/signals.h"
#include "proto/place.h"

#define WAIT_MS 20000

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

struct bench {
    char directory[64];
    pid_t daemon;
};

/* ---- the daemon ---- */

static struct service *service_in_loop;

static inline void on_nothing(void *context)
{
    (void)context;
}

static inline void on_term(evutil_socket_t number, short what, void *argument)
{
    (void)number, (void)what;
    event_base_loopbreak(argument);
}

static inline void on_child(evutil_socket_t number, short what, void *argument)
{
    siginfo_t info = {.si_pid = 0};

    (void)number, (void)what, (void)argument;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        if (!service_child_died(service_in_loop, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

static inline void daemon_run(const struct bench *bench, int ready)
{
    const struct service_settings settings = {
        .jobs = {.state_dir = bench->directory,
                 .slots = 2,
                 .output_limit = TRANSCRIPT_MIN_LIMIT,
                 .queue_limit = 1000,
                 .keep = 1000},
        .bundle_limit = 1 << 20,
        .bundle_keep_ms = 3600000,
        .max_clients = 8,
        .session_ttl_ms = 60000,
        .version = "test",
    };
    const struct service_listener listener = {on_nothing, on_nothing, on_nothing,
                                              on_nothing, NULL,       NULL};
    struct job_place place = {.base = event_base_new(), .host = "here", .files = {1024, 1024}};
    const struct plane_settings plane = {.base = place.base};
    char address[128], path[128], error[SERVICE_ERROR_SIZE];
    enum store_open_result result;
    struct signals *signals = signals_create(place.base);

    require(signals != NULL);
    signals_watch(signals, SIGCHLD, on_child, NULL);
    signals_watch(signals, SIGTERM, on_term, place.base);
    require((place.plane = plane_create(&plane, error)) != NULL);
    snprintf(address, sizeof(address), "ipc://%s/" PLACE_CONTROL, bench->directory);
    snprintf(path, sizeof(path), "%s/" PLACE_ATTACH, bench->directory);
    service_in_loop = service_create(&place, address, &settings, &listener, &result, error);
    if (service_in_loop == NULL || service_listen(service_in_loop, path, error) != 0) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    require(write(ready, "x", 1) == 1);
    event_base_dispatch(place.base);
    service_destroy(service_in_loop);
    plane_destroy(place.plane);
    signals_destroy(signals);
    event_base_free(place.base);
}

static inline void bench_open(struct bench *bench)
{
    int ready[2];
    char byte;

    memset(bench, 0, sizeof(*bench));
    snprintf(bench->directory, sizeof(bench->directory), "/tmp/c4p-test-service-XXXXXX");
    require(mkdtemp(bench->directory) != NULL);
    require(pipe(ready) == 0);
    bench->daemon = fork();
    require(bench->daemon >= 0);
    if (bench->daemon == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        alarm(0);
        daemon_run(bench, ready[1]);
        exit(0); /* as a daemon ends: what leaks is told */
    }
    close(ready[1]);
    require(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
}

static inline int file_remove(const char *path, const struct stat *status, int kind,
                              struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static inline void bench_close(struct bench *bench)
{
    int status;

    require(kill(bench->daemon, SIGTERM) == 0);
    require(waitpid(bench->daemon, &status, 0) == bench->daemon);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    require(nftw(bench->directory, file_remove, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- a client ---- */

static inline struct c4p_client *attached(const struct bench *bench)
{
    char error[C4P_ERROR_SIZE];
    struct c4p_client *client = c4p_attach(bench->directory, "test", WAIT_MS, error);

    if (client == NULL)
        fail_msg("%s", error);
    return client;
}

static inline void event_next(struct c4p_client *client, struct c4p_event *event)
{
    int rc;

    while ((rc = c4p_next(client, event)) == 0)
        require(c4p_wait(client, WAIT_MS) == 0);
    require(rc == 1);
}

/* Events until one of this kind. */
static inline void event_await(struct c4p_client *client, enum c4p_event_kind kind,
                               struct c4p_event *event)
{
    do {
        event_next(client, event);
        if (event->kind == C4P_EVENT_REFUSED && kind != C4P_EVENT_REFUSED)
            fail_msg("%s", event->text);
    } while (event->kind != kind);
}

static inline void assert_refused(struct c4p_client *client, const char *part)
{
    struct c4p_event event;

    event_await(client, C4P_EVENT_REFUSED, &event);
    if (strstr(event.text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, event.text);
}

static const char *const environment[] __attribute__((unused)) = {"PATH=/bin:/usr/bin", NULL};

/* A job that is a script of the shell; what else it is to be is added by the test. */
static inline struct c4p_job job_of(const char *argv[4], const char *script)
{
    argv[0] = "/bin/sh";
    argv[1] = "-c";
    argv[2] = script;
    argv[3] = NULL;
    return (struct c4p_job){.argv = argv, .env = environment, .cwd = "/tmp", .pes = 1};
}

static inline uint64_t submitted(struct c4p_client *client, const struct c4p_job *job)
{
    struct c4p_event event;

    assert_true(c4p_submit(client, job) > 0);
    event_await(client, C4P_EVENT_ACCEPTED, &event);
    return event.job;
}

static inline uint64_t submitted_script(struct c4p_client *client, const char *script)
{
    const char *argv[4];
    struct c4p_job job = job_of(argv, script);

    return submitted(client, &job);
}

static inline void followed(struct c4p_client *client, uint64_t job,
                            const struct c4p_follow_options *options, struct c4p_event *event)
{
    assert_true(c4p_follow(client, job, options) > 0);
    event_await(client, C4P_EVENT_FOLLOWING, event);
    assert_int_equal(event->job, job);
}

static inline void wait_running(struct c4p_client *client, uint64_t job)
{
    struct c4p_event event;

    followed(client, job, NULL, &event);
    do
        event_await(client, C4P_EVENT_STATE, &event);
    while (event.state != C4P_STATE_RUNNING);
}

#endif
