/* The manager of jobs with a real store in a temporary directory, and programs of the shell as PEs. */
#ifndef C4P_TESTS_JOBS_FIXTURE_H
#define C4P_TESTS_JOBS_FIXTURE_H

#include "tests/unit/unit.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "daemon/jobs/jobs.h"
#include "daemon/jobs/remains.h"
#include "daemon/jobs/spawn.h"
#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "daemon/router/plane.h"
#include "daemon/signals.h"
#include "daemon/words.h"
#include "proto/clock.h"

#define SLOTS 2
#define MAX_ENDED 64

struct bench {
    char directory[64];
    struct job_place place;
    struct signals *signals;
    struct jobs *jobs;
    uint64_t ended[MAX_ENDED];
    unsigned ends;
    unsigned moved;
    bool stalled; /* some follower does not keep up */
    char trouble[STORE_ERROR_SIZE];
};

static inline void on_changed(void *context, uint64_t id, enum job_state state)
{
    (void)context, (void)id, (void)state;
}

static inline void on_queue_moved(void *context)
{
    struct bench *bench = context;

    bench->moved++;
}

static inline void on_output(void *context, uint64_t id)
{
    (void)context, (void)id;
}

static inline void on_input_credit(void *context, uint64_t id, uint32_t bytes, bool closed)
{
    (void)context, (void)id, (void)bytes, (void)closed;
}

static inline void on_ended(void *context, uint64_t id)
{
    struct bench *bench = context;

    require(bench->ends < MAX_ENDED);
    bench->ended[bench->ends++] = id;
}

static inline bool on_keeps_up(void *context, uint64_t id)
{
    struct bench *bench = context;

    (void)id;
    return !bench->stalled;
}

static inline void on_trouble(void *context, const char *sentence)
{
    struct bench *bench = context;

    snprintf(bench->trouble, sizeof(bench->trouble), "%s",
             sentence != NULL ? sentence : jobs_trouble(bench->jobs));
}

static inline void on_child(evutil_socket_t number, short what, void *argument)
{
    struct bench *bench = argument;
    siginfo_t info = {.si_pid = 0};

    (void)number, (void)what;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        if (!jobs_child_died(bench->jobs, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

/* What most tests run with; `lasts`: with a state directory. */
static inline struct jobs_settings settings_of(const struct bench *bench, bool lasts)
{
    return (struct jobs_settings){
        .state_dir = lasts ? bench->directory : NULL,
        .slots = lasts ? SLOTS : 0,
        .output_limit = TRANSCRIPT_MIN_LIMIT,
        .queue_limit = 8,
        .keep = 4,
    };
}

static inline void jobs_begin(struct bench *bench, const struct jobs_settings *settings)
{
    const struct jobs_listener listener = {
        .changed = on_changed,
        .queue_moved = on_queue_moved,
        .output = on_output,
        .input_credit = on_input_credit,
        .ended = on_ended,
        .keeps_up = on_keeps_up,
        .trouble = on_trouble,
        .context = bench,
    };
    char error[STORE_ERROR_SIZE] = "", sentence[PLANE_ERROR_SIZE];
    enum store_open_result result;

    bench->place = (struct job_place){.host = "here", .files = {1024, 1024}};
    bench->place.base = event_base_new();
    require(bench->place.base != NULL);
    bench->signals = signals_create(bench->place.base);
    require(bench->signals != NULL);
    signals_watch(bench->signals, SIGCHLD, on_child, bench);
    bench->place.plane =
        plane_create(&(struct plane_settings){.base = bench->place.base}, sentence);
    require(bench->place.plane != NULL);
    bench->jobs = jobs_create(&bench->place, settings, &listener, &result, error);
    if (bench->jobs == NULL) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}

static inline void jobs_end(struct bench *bench)
{
    jobs_destroy(bench->jobs);
    plane_destroy(bench->place.plane);
    signals_destroy(bench->signals);
    event_base_free(bench->place.base);
    bench->jobs = NULL;
}

static inline void bench_open(struct bench *bench, bool lasts)
{
    struct jobs_settings settings;

    memset(bench, 0, sizeof(*bench));
    snprintf(bench->directory, sizeof(bench->directory), "/tmp/c4p-test-jobs-XXXXXX");
    require(mkdtemp(bench->directory) != NULL);
    settings = settings_of(bench, lasts);
    jobs_begin(bench, &settings);
}

static inline int file_remove(const char *path, const struct stat *status, int kind,
                              struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static inline void bench_close(struct bench *bench)
{
    if (bench->jobs != NULL)
        jobs_end(bench);
    require(nftw(bench->directory, file_remove, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- jobs ---- */

struct script {
    const char *text; /* of the shell */
    uint32_t pes;
    int32_t priority;
    uint64_t time_limit_ms;
    const char *name, *key;
    bool session;
};

static inline ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static inline int submit_try(struct bench *bench, const struct script *script, uint64_t *id,
                             char reason[JOBS_REASON_SIZE])
{
    C4p__Submit submit = C4P__SUBMIT__INIT;
    ProtobufCBinaryData argv[] = {bytes_of("/bin/sh"), bytes_of("-c"), bytes_of(script->text)};
    ProtobufCBinaryData env[] = {bytes_of("PATH=/bin:/usr/bin")};

    submit.n_argv = 3;
    submit.argv = argv;
    submit.n_env = 1;
    submit.env = env;
    submit.cwd = bytes_of(bench->directory);
    submit.pes = script->pes;
    submit.priority = script->priority;
    submit.time_limit_ms = script->time_limit_ms;
    if (script->name != NULL)
        submit.name = bytes_of(script->name);
    if (script->key != NULL)
        submit.key = bytes_of(script->key);
    return jobs_submit(bench->jobs, &submit, script->session ? JOBS_SESSION : JOBS_PROGRAM, id,
                       reason);
}

static inline uint64_t submit(struct bench *bench, const struct script *script)
{
    char reason[JOBS_REASON_SIZE] = "";
    uint64_t id;

    if (submit_try(bench, script, &id, reason) != 0)
        fail_msg("%s", reason);
    return id;
}

static inline uint64_t submit_text(struct bench *bench, const char *text)
{
    return submit(bench, &(struct script){.text = text, .pes = 1});
}

static inline enum job_state state_of(struct bench *bench, uint64_t id)
{
    char reason[JOBS_REASON_SIZE];
    enum job_state state;

    assert_true(jobs_state(bench->jobs, id, &state, reason));
    return state;
}

static inline void wait_state(struct bench *bench, uint64_t id, enum job_state state)
{
    while (state_of(bench, id) != state)
        require(event_base_loop(bench->place.base, EVLOOP_ONCE) >= 0);
}

static inline void wait_ends(struct bench *bench, unsigned ends)
{
    while (bench->ends < ends)
        require(event_base_loop(bench->place.base, EVLOOP_ONCE) >= 0);
}

/* What a job is to have been when it is over. */
struct expected {
    enum job_state state;
    int exit_code;
    const char *message;
};

static inline void expect_end(void *context, const C4p__Ended *ended)
{
    const struct expected *expected = context;

    assert_int_equal(ended->state, expected->state);
    assert_int_equal(ended->exit_code, expected->exit_code);
    assert_string_equal(ended->message, expected->message);
}

static inline void assert_end(struct bench *bench, uint64_t id, enum job_state state, int exit_code,
                              const char *message)
{
    struct expected expected = {state, exit_code, message};

    assert_true(jobs_ended(bench->jobs, id, expect_end, &expected));
}

/* All that is kept of a job's output. */
static inline void assert_output(struct bench *bench, uint64_t id, const char *text)
{
    struct transcript *transcript = jobs_transcript(bench->jobs, id);
    struct output_piece piece;
    char all[512] = "";
    uint64_t sequence = 1;

    assert_non_null(transcript);
    for (; transcript_read(transcript, &sequence, &piece); sequence++)
        strncat(all, piece.data, piece.size);
    jobs_release(bench->jobs, id);
    assert_string_equal(all, text);
}

static inline void wait_for_file(const struct bench *bench, const char *name)
{
    char path[128];
    struct stat status;

    snprintf(path, sizeof(path), "%s/%s", bench->directory, name);
    while (stat(path, &status) != 0)
        event_base_loop(bench->place.base, EVLOOP_NONBLOCK);
}

/* A gate that scripts wait at, with `read line < NAME`: opened here by writing a line. */
static inline int gate_make(const struct bench *bench, const char *name)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", bench->directory, name);
    require(mkfifo(path, 0600) == 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    require(fd >= 0);
    return fd;
}

static inline void gate_open(int gate)
{
    require(write(gate, "go\n", 3) == 3);
}

#endif
