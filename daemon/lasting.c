#define _GNU_SOURCE
#include "daemon/lasting.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/announcement.h"
#include "daemon/log.h"
#include "daemon/node.h"
#include "daemon/notify.h"
#include "daemon/process.h"
#include "daemon/service.h"
#include "daemon/state_dir.h"
#include "proto/place.h"

/* The service manager's line changes at most so often. */
#define STATUS_MS 200

/* When the last job has ended, its clients have so long to hear of it. */
#define FAREWELL_MS 100

/* Nothing has run for so long. */
#define REST_MS 1000

#define STATUS_SIZE 256

struct lasting {
    const struct options *options;
    struct config config;
    struct process process;
    struct state_dir directory;
    struct post *post;
    struct node *node; /* NULL: alone */
    struct service *service;
    struct event *drain_over, *status_due, *watchdog, *leave, *rest;
    enum { SERVES, DRAINS, ENDS, KILLS } phase;
    char status[STATUS_SIZE];
    char address[PATH_MAX]; /* of ZeroMQ's socket */
};

static struct timeval time_of_ms(uint64_t ms)
{
    return (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
}

static void timer_set(struct event *timer, uint64_t ms)
{
    struct timeval time = time_of_ms(ms);

    event_add(timer, &time);
}

static struct service_settings settings_of(const struct lasting *daemon)
{
    const struct config_value *values = daemon->config.values;

    return (struct service_settings){
        .jobs =
            {
                .state_dir = daemon->directory.path,
                .post = daemon->post,
                .slots = (uint32_t)values[CONFIG_PES].number,
                .output_limit = values[CONFIG_OUTPUT_LIMIT].number,
                .queue_limit = (uint32_t)values[CONFIG_QUEUE_LIMIT].number,
                .keep = (uint32_t)values[CONFIG_KEEP].number,
                .keep_ms = values[CONFIG_KEEP_TIME].number,
            },
        .bundle_limit = values[CONFIG_BUNDLE_LIMIT].number,
        .bundle_keep_ms = values[CONFIG_BUNDLE_KEEP].number,
        .max_clients = (uint32_t)values[CONFIG_MAX_CLIENTS].number,
        .session_ttl_ms = values[CONFIG_SESSION_TTL].number,
        .version = C4P_VERSION,
    };
}

/* ---- the status line ---- */

static void on_status_due(evutil_socket_t fd, short what, void *argument)
{
    struct lasting *daemon = argument;
    char status[STATUS_SIZE];

    (void)fd;
    (void)what;
    service_describe(daemon->service, status, sizeof(status));
    if (strcmp(status, daemon->status) == 0)
        return;
    memcpy(daemon->status, status, sizeof(status));
    notify_status(status);
}

static void on_changed(void *context)
{
    struct lasting *daemon = context;

    if (notify_is_wanted() && daemon->status_due != NULL &&
        !event_pending(daemon->status_due, EV_TIMEOUT, NULL))
        timer_set(daemon->status_due, STATUS_MS);
}

static void on_watchdog(evutil_socket_t fd, short what, void *argument)
{
    const struct lasting *daemon = argument;

    (void)fd;
    (void)what;
    notify_alive();
    timer_set(daemon->watchdog, notify_watchdog_ms() / 2);
}

/* ---- the cluster ---- */

static struct node *node_make(struct lasting *daemon, char error[NODE_ERROR_SIZE])
{
    const struct node_settings settings = {
        .process = &daemon->process,
        .state_dir = daemon->directory.path,
        .config = &daemon->config,
        .post = daemon->post,
        .changed = on_changed,
        .context = daemon,
    };

    return node_create(&settings, error);
}

static void on_admin(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    const struct lasting *daemon = context;

    if (daemon->node != NULL)
        cluster_admin(node_cluster(daemon->node), admin, answer);
    else
        answer->refused =
            (char *)(uintptr_t) "this node is alone, in no cluster (c4pd init founds one, "
                                "c4pd join TOKEN joins one)";
}

/* ---- the end ---- */

static void on_leave(evutil_socket_t fd, short what, void *argument)
{
    const struct lasting *daemon = argument;

    (void)fd;
    (void)what;
    event_base_loopbreak(daemon->process.base);
}

/* ---- idle ---- */

/* Give back what the last jobs needed: it may be long before the next ones come. */
static void on_rest(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    (void)argument;
    malloc_trim(0);
}

/* Clients come and go. */
static void on_client(void *context)
{
    (void)context;
}

static void on_idle(void *context)
{
    struct lasting *daemon = context;

    if (daemon->phase != SERVES)
        timer_set(daemon->leave, FAREWELL_MS);
    else
        timer_set(daemon->rest, REST_MS);
}

/* `at_once`: the time to drain is over before it begins. */
static void lasting_drain(struct lasting *daemon, bool at_once)
{
    const uint64_t limit = daemon->config.values[CONFIG_DRAIN_TIME].number;
    char status[STATUS_SIZE], time[VALUE_TEXT_SIZE];

    service_describe(daemon->service, status, sizeof(status));
    config_format(&daemon->config, CONFIG_DRAIN_TIME, time);
    if (at_once)
        log_write(LOG_INFO, "c4pd", "takes and starts no more jobs (%s)", status);
    else
        log_write(LOG_INFO, "c4pd", "takes and starts no more jobs; what runs has %s to end (%s)",
                  time, status);
    daemon->phase = DRAINS;
    service_drain(daemon->service);
    service_describe(daemon->service, status, sizeof(status));
    notify_stopping(status, limit + 30000);
    timer_set(daemon->drain_over, limit);
}

static void lasting_end(struct lasting *daemon, bool kill)
{
    daemon->phase = kill ? KILLS : ENDS;
    event_del(daemon->drain_over);
    log_write(LOG_INFO, "c4pd", kill ? "kills what runs" : "ends what runs");
    service_stop(daemon->service, kill);
}

static void on_drain_over(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    lasting_end(argument, false);
}

/* TERM, INT and QUIT: drain; then end; then kill. */
static void on_end_signal(evutil_socket_t number, short what, void *argument)
{
    struct lasting *daemon = argument;

    (void)what;
    log_write(LOG_INFO, "c4pd", "got SIG%s", sigabbrev_np((int)number));
    if (daemon->phase == SERVES)
        lasting_drain(daemon, number == SIGQUIT);
    else if (number != SIGQUIT)
        lasting_end(daemon, daemon->phase != DRAINS);
    if (number == SIGQUIT && daemon->phase == DRAINS)
        lasting_end(daemon, false);
    if (service_is_idle(daemon->service) && !event_pending(daemon->leave, EV_TIMEOUT, NULL))
        timer_set(daemon->leave, 0);
}

/* ---- reload ---- */

/* Take what can change over; what cannot stays, and the log says so. */
static void config_take_over(struct lasting *daemon, const struct config *fresh)
{
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        struct config_value *now = &daemon->config.values[key];
        char before[VALUE_TEXT_SIZE], after[VALUE_TEXT_SIZE];

        config_format(&daemon->config, key, before);
        config_format(fresh, key, after);
        if (config_same(&daemon->config, fresh, key)) {
            *now = fresh->values[key];
        } else if (config_rows[key].reloadable) {
            *now = fresh->values[key];
            log_write(LOG_INFO, "config", "%s: %s instead of %s", config_rows[key].key, after,
                      before);
        } else {
            log_write(LOG_WARNING, "config", "%s: %s stays until the next start, then it is %s",
                      config_rows[key].key, before, after);
        }
    }
    memcpy(daemon->config.path, fresh->path, sizeof(daemon->config.path));
}

/* The state directory belongs to this node no more. What runs may need the others. */
static void node_end(struct lasting *daemon)
{
    char error[LASTING_REPORT_SIZE];

    if (!service_is_idle(daemon->service)) {
        log_write(LOG_WARNING, "cluster",
                  "the state directory is not that of this node any more: c4pd reload when nothing "
                  "runs, or c4pd restart, takes over what it is now");
        return;
    }
    node_destroy(daemon->node);
    daemon->node = NULL;
    log_write(LOG_INFO, "cluster", "this daemon is no node of that cluster any more");
    if (daemon->process.place.plane != NULL ||
        process_make_plane(&daemon->process, NULL, error, sizeof(error)) == 0)
        return;
    log_write(LOG_ERROR, "c4pd", "%s: it cannot go on alone", error);
    event_base_loopbreak(daemon->process.base);
}

/* The state directory may have become that of a node since the start, or of another one. */
static void node_look(struct lasting *daemon)
{
    char error[NODE_ERROR_SIZE];

    if (daemon->node != NULL && !node_is_current(daemon->node))
        node_end(daemon);
    if (daemon->node != NULL) {
        if (node_configure(daemon->node, &daemon->config, error) != 0)
            log_write(LOG_ERROR, "cluster", "%s", error);
    } else if (trust_exists(daemon->directory.path)) {
        daemon->node = node_make(daemon, error);
        if (daemon->node == NULL)
            log_write(LOG_ERROR, "cluster", "%s (the daemon stays alone)", error);
    }
}

static void config_apply(struct lasting *daemon)
{
    const struct config_value *values = daemon->config.values;
    struct service_settings settings = settings_of(daemon);

    log_level_set((enum log_level)values[CONFIG_LOG_LEVEL].number);
    log_limit_set(values[CONFIG_LOG_SIZE].number);
    node_look(daemon);
    service_configure(daemon->service, &settings);
    if (announcement_write(daemon->directory.path, &daemon->config) != 0)
        log_write(LOG_WARNING, "c4pd", "%s/" PLACE_PID ": cannot be written: %s",
                  daemon->directory.path, strerror(errno));
}

static void on_hangup(evutil_socket_t number, short what, void *argument)
{
    struct lasting *daemon = argument;
    const char *path = daemon->options->config;
    char error[CONFIG_ERROR_SIZE];
    struct config fresh;

    (void)number;
    (void)what;
    notify_reloading();
    if (log_reopen() != 0)
        log_write(LOG_ERROR, "log", "cannot be opened again: %s", strerror(errno));
    if (config_load(&fresh, path[0] != '\0' ? path : NULL, &daemon->options->given, error) == 0) {
        config_take_over(daemon, &fresh);
        config_apply(daemon);
        log_write(LOG_INFO, "config", "read again: %s",
                  fresh.path[0] != '\0' ? fresh.path : "there is no file");
    } else {
        log_write(LOG_ERROR, "config", "%s (nothing is changed)", error);
    }
    notify_ready(daemon->status);
}

/* ---- the start ---- */

static enum exit_code log_start(const struct lasting *daemon, bool background, char *error)
{
    const struct config_value *values = daemon->config.values;
    char path[PATH_MAX + sizeof(PLACE_LOG) + 1];

    log_form_logfmt();
    log_level_set((enum log_level)values[CONFIG_LOG_LEVEL].number);
    if (!background)
        return EXIT_CODE_OK;
    snprintf(path, sizeof(path), "%s/" PLACE_LOG, daemon->directory.path);
    if (log_open(path, values[CONFIG_LOG_SIZE].number) == 0)
        return EXIT_CODE_OK;
    snprintf(error, LASTING_REPORT_SIZE, "%.300s: cannot be opened: %s", path, strerror(errno));
    return EXIT_CODE_FAILED;
}

static enum exit_code directory_open(struct lasting *daemon, bool background, char *error)
{
    enum state_dir_result result =
        state_dir_open(&daemon->directory, daemon->options->state_dir, error);

    if (result != STATE_DIR_OPEN)
        return result == STATE_DIR_REFUSED ? EXIT_CODE_REFUSED : EXIT_CODE_FAILED;
    if (announcement_write(daemon->directory.path, &daemon->config) != 0) {
        snprintf(error, LASTING_REPORT_SIZE, "%.300s/" PLACE_PID ": cannot be written: %s",
                 daemon->directory.path, strerror(errno));
        return EXIT_CODE_FAILED;
    }
    return log_start(daemon, background, error);
}

static struct service *service_make(struct lasting *daemon, enum store_open_result *result,
                                    char *error)
{
    const struct service_listener listener = {
        .greeted = on_client,
        .deserted = on_client,
        .idle = on_idle,
        .changed = on_changed,
        .admin = on_admin,
        .context = daemon,
    };
    const struct service_settings settings = settings_of(daemon);

    *result = STORE_OPEN;
    return service_create(&daemon->process.place, daemon->address, &settings, &listener, result,
                          error);
}

/* A damaged store out of the way, and once more. */
static struct service *service_make_anew(struct lasting *daemon, enum store_open_result *result,
                                         char *error)
{
    char aside[STORE_ERROR_SIZE];

    if (store_set_aside(daemon->directory.path, aside) != 0) {
        snprintf(error, SERVICE_ERROR_SIZE, "the damaged store cannot be moved away: %.300s",
                 aside);
        return NULL;
    }
    log_write(LOG_WARNING, "store", "%.200s: it is now %s, and the queue is empty", error, aside);
    return service_make(daemon, result, error);
}

static enum exit_code service_open(struct lasting *daemon, char *error)
{
    enum store_open_result result;
    char path[PATH_MAX + sizeof(PLACE_ATTACH) + 1];
    int rc = -1;

    snprintf(daemon->address, sizeof(daemon->address), "ipc://%.*s/" PLACE_CONTROL, PLACE_MAX,
             daemon->directory.path);
    snprintf(path, sizeof(path), "%s/" PLACE_ATTACH, daemon->directory.path);
    daemon->service = service_make(daemon, &result, error);
    if (daemon->service == NULL && result == STORE_DAMAGED && daemon->options->set_aside)
        daemon->service = service_make_anew(daemon, &result, error);
    if (daemon->service != NULL)
        rc = service_listen(daemon->service, path, error);
    if (rc == 0)
        return EXIT_CODE_OK;
    if (result == STORE_DAMAGED && !daemon->options->set_aside)
        strncat(error, "; c4pd start --set-aside moves it away and begins with an empty one",
                LASTING_REPORT_SIZE - strlen(error) - 1);
    return result == STORE_DAMAGED || result == STORE_NEWER ? EXIT_CODE_REFUSED : EXIT_CODE_FAILED;
}

/* The service is there already, since they use it. */
static enum exit_code events_open(struct lasting *daemon, char *error)
{
    static const struct {
        int number;
        event_callback_fn callback;
    } signals[] = {
        {SIGTERM, on_end_signal},
        {SIGINT, on_end_signal},
        {SIGQUIT, on_end_signal},
        {SIGHUP, on_hangup},
    };
    const struct {
        struct event **timer;
        event_callback_fn callback;
    } timers[] = {
        {&daemon->drain_over, on_drain_over},
        {&daemon->status_due, on_status_due},
        {&daemon->watchdog, on_watchdog},
        {&daemon->leave, on_leave},
        {&daemon->rest, on_rest},
    };

    for (size_t i = 0; i < sizeof(timers) / sizeof(*timers); i++)
        if ((*timers[i].timer = process_watch(&daemon->process, -1, 0, timers[i].callback, daemon,
                                              error, LASTING_REPORT_SIZE)) == NULL)
            return EXIT_CODE_FAILED;
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        process_watch_signal(&daemon->process, signals[i].number, signals[i].callback, daemon);
    process_watch_children(&daemon->process, daemon->service);
    return EXIT_CODE_OK;
}

/* The planes: alone, or as a node of a cluster. */
static enum exit_code planes_open(struct lasting *daemon, char *error)
{
    daemon->post = post_create();
    if (daemon->post == NULL) {
        snprintf(error, LASTING_REPORT_SIZE, "the daemon is out of memory");
        return EXIT_CODE_FAILED;
    }
    if (!trust_exists(daemon->directory.path))
        return process_make_plane(&daemon->process, NULL, error, LASTING_REPORT_SIZE) == 0
                   ? EXIT_CODE_OK
                   : EXIT_CODE_FAILED;
    daemon->node = node_make(daemon, error);
    return daemon->node != NULL ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static enum exit_code lasting_open(struct lasting *daemon, bool background, char *error)
{
    /* What is ours is ours alone; the jobs get the mask of who started us. */
    const mode_t before = umask(0077);
    enum exit_code code = directory_open(daemon, background, error);

    if (code == EXIT_CODE_OK && process_open(&daemon->process, error, LASTING_REPORT_SIZE) != 0)
        code = EXIT_CODE_FAILED;
    if (code == EXIT_CODE_OK)
        code = planes_open(daemon, error);
    if (code == EXIT_CODE_OK && chdir("/") != 0) {
        snprintf(error, LASTING_REPORT_SIZE, "/: %s", strerror(errno));
        code = EXIT_CODE_FAILED;
    }
    if (code == EXIT_CODE_OK)
        code = service_open(daemon, error);
    umask(before);
    return code == EXIT_CODE_OK ? events_open(daemon, error) : code;
}

static void lasting_close(struct lasting *daemon)
{
    service_destroy(daemon->service);
    node_destroy(daemon->node);
    post_destroy(daemon->post);
    process_close(&daemon->process);
    state_dir_close(&daemon->directory);
    log_flush();
}

/* Say it where the start is waited for, and in the log. */
static void start_report(int report, enum exit_code code, const char *sentence)
{
    char text[LASTING_REPORT_SIZE + 16];
    int size = snprintf(text, sizeof(text), "%d %s", (int)code, sentence);

    if (report < 0 && code != EXIT_CODE_OK) {
        fprintf(stderr, "c4pd: %s\n", sentence);
        return;
    }
    log_write(code == EXIT_CODE_OK ? LOG_INFO : LOG_ERROR, "c4pd", "%s", sentence);
    if (report < 0)
        return;
    if (write(report, text, (size_t)size) != size)
        log_write(LOG_WARNING, "c4pd", "nobody waits for the start any more");
    close(report);
}

static void lasting_serve(struct lasting *daemon, int report)
{
    uint32_t pes = (uint32_t)daemon->config.values[CONFIG_PES].number;
    char sentence[LASTING_REPORT_SIZE];

    snprintf(sentence, sizeof(sentence), "c4pd runs: pid %d, %" PRIu32 " PE%s, %.300s",
             (int)getpid(), pes, pes == 1 ? "" : "s", daemon->directory.path);
    service_describe(daemon->service, daemon->status, sizeof(daemon->status));
    notify_ready(daemon->status);
    if (notify_watchdog_ms() > 0)
        timer_set(daemon->watchdog, notify_watchdog_ms() / 2);
    start_report(report, EXIT_CODE_OK, sentence);
    malloc_trim(0);
    event_base_dispatch(daemon->process.base);
    log_write(LOG_INFO, "c4pd", "ends");
}

int lasting_run(const struct options *options, const struct config *config, int report)
{
    struct lasting daemon = {.options = options, .config = *config, .directory = {.lock = -1}};
    char error[LASTING_REPORT_SIZE] = "";
    enum exit_code code = EXIT_CODE_FAILED;

    report = process_descriptors_arrange(report);
    if (report < 0)
        snprintf(error, sizeof(error), "descriptors: %s", strerror(errno));
    else
        code = lasting_open(&daemon, report > 0, error);
    report = report > 0 ? report : -1;
    if (code == EXIT_CODE_OK)
        lasting_serve(&daemon, report);
    else
        start_report(report, code, error);
    lasting_close(&daemon);
    return code;
}
