#define _GNU_SOURCE
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/transcript.h"
#include "daemon/log.h"
#include "proto/segment.h"

#define SECOND 1000ull
#define DAY (86400 * SECOND)

const struct config_row config_rows[CONFIG_KEYS] = {
    [CONFIG_PES] = {"daemon", "pes", "--pes", "N", VALUE_COUNT, 0, 1, SEGMENT_MAX_PES, true,
                    "processing elements that jobs share"},
    [CONFIG_LOG_LEVEL] = {"daemon", "log_level", "--log-level", "LEVEL", VALUE_LEVEL, LOG_INFO,
                          LOG_ERROR, LOG_DEBUG, true,
                          "what is logged: error, warning, info or debug"},
    [CONFIG_LOG_SIZE] = {"daemon", "log_size", "--log-size", "SIZE", VALUE_SIZE, 10u << 20,
                         LOG_MIN_LIMIT, 1ull << 40, true,
                         "size at which the log is put aside as c4pd.log.1"},
    [CONFIG_MAX_CLIENTS] = {"daemon", "max_clients", "--max-clients", "N", VALUE_COUNT, 256, 1,
                            65536, false, "clients that may be connected at a time"},
    [CONFIG_DRAIN_TIME] = {"daemon", "drain_time", "--drain-time", "TIME", VALUE_TIME, 30 * SECOND,
                           0, 30 * DAY, true, "what running jobs get to end when c4pd stops"},
    [CONFIG_QUEUE_LIMIT] = {"jobs", "queue_limit", "--queue-limit", "N", VALUE_COUNT, 10000, 1,
                            1000000, true, "jobs that may wait"},
    [CONFIG_OUTPUT_LIMIT] = {"jobs", "output_limit", "--output-limit", "SIZE", VALUE_SIZE,
                             64u << 20, TRANSCRIPT_MIN_LIMIT, 1ull << 40, true,
                             "output that is kept of a job, the newest"},
    [CONFIG_KEEP] = {"jobs", "keep", "--keep", "N", VALUE_COUNT, 1000, 0, 1000000, true,
                     "jobs that are remembered after their end"},
    [CONFIG_KEEP_TIME] = {"jobs", "keep_time", "--keep-time", "TIME", VALUE_TIME, 30 * DAY, 0,
                          3650 * DAY, true, "... and for how long; 0: as long as keep allows"},
    [CONFIG_BUNDLE_LIMIT] = {"jobs", "bundle_limit", "--bundle-limit", "SIZE", VALUE_SIZE,
                             1ull << 30, 1u << 20, 1ull << 50, true,
                             "files of programs that are kept, for jobs on several hosts"},
    [CONFIG_BUNDLE_KEEP] = {"jobs", "bundle_keep", "--bundle-keep", "TIME", VALUE_TIME, 7 * DAY,
                            3600 * SECOND, 3650 * DAY, true,
                            "... and for how long when no job needs them"},
    [CONFIG_SESSION_TTL] = {"sessions", "ttl", "--session-ttl", "TIME", VALUE_TIME, 3600 * SECOND,
                            SECOND, 3650 * DAY, true,
                            "how long a named session lives without a client"},
    [CONFIG_LISTEN] = {"cluster", "listen", "--listen", "ADDRESS", VALUE_ADDRESS, 0, 0, 0, false,
                       "where a node of a cluster is reached by others"},
    [CONFIG_ADVERTISE] = {"cluster", "advertise", "--advertise", "HOST", VALUE_HOST, 0, 0, 0, true,
                          "what it tells others to reach it at; auto: it finds out"},
    [CONFIG_DATA_LISTEN] = {"cluster", "data_listen", "--data-listen", "ADDRESS", VALUE_ADDRESS, 0,
                            0, 0, false,
                            "the same for what programs send; auto: the next port of listen"},
};

/* Defaults of those that are text. */
static const char *const texts[CONFIG_KEYS] = {
    [CONFIG_LISTEN] = "0.0.0.0:7227",
    [CONFIG_ADVERTISE] = VALUE_AUTO,
    [CONFIG_DATA_LISTEN] = VALUE_AUTO,
};

/* ---- values ---- */

static uint32_t cores_usable(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set)
                                                             : (int)sysconf(_SC_NPROCESSORS_ONLN);

    if (cores < 1)
        return 1;
    return cores < SEGMENT_MAX_PES ? (uint32_t)cores : SEGMENT_MAX_PES;
}

void config_init(struct config *config, uint32_t cores)
{
    memset(config, 0, sizeof(*config));
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        config->values[key].number = config_rows[key].otherwise;
        if (value_is_text(config_rows[key].type))
            strcpy(config->values[key].text, texts[key]);
    }
    config->values[CONFIG_PES].number = cores;
}

/* "auto" is for those whose default it is. */
static bool text_take(enum config_key key, const char *text, struct config_value *value)
{
    if (!value_check(config_rows[key].type, text) ||
        (strcmp(text, VALUE_AUTO) == 0 && strcmp(texts[key], VALUE_AUTO) != 0))
        return false;
    strcpy(value->text, text);
    return true;
}

int config_set(struct config *config, enum config_key key, const char *text,
               struct config_value origin, char error[CONFIG_ERROR_SIZE])
{
    const struct config_row *row = &config_rows[key];
    char least[VALUE_TEXT_SIZE], most[VALUE_TEXT_SIZE];

    if (!(value_is_text(row->type) ? text_take(key, text, &origin)
                                   : value_parse(row->type, text, &origin.number))) {
        snprintf(error, CONFIG_ERROR_SIZE, "\"%.80s\" is not %s", text,
                 value_type_describe(row->type));
        return -1;
    }
    if (origin.number < row->least || origin.number > row->most) {
        value_format(row->type, row->least, least);
        value_format(row->type, row->most, most);
        snprintf(error, CONFIG_ERROR_SIZE, "%.80s is out of range (give %s to %s)", text, least,
                 most);
        return -1;
    }
    config->values[key] = origin;
    return 0;
}

int config_give(struct config *config, const struct config_given *given,
                char error[CONFIG_ERROR_SIZE])
{
    const struct config_value origin = {.source = CONFIG_COMMAND_LINE};
    char reason[CONFIG_ERROR_SIZE];

    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        if (given->values[key] != NULL &&
            config_set(config, key, given->values[key], origin, reason) != 0) {
            snprintf(error, CONFIG_ERROR_SIZE, "%s: %.400s", config_rows[key].option, reason);
            return -1;
        }
    return 0;
}

void config_format(const struct config *config, enum config_key key, char text[VALUE_TEXT_SIZE])
{
    if (value_is_text(config_rows[key].type))
        strcpy(text, config->values[key].text);
    else
        value_format(config_rows[key].type, config->values[key].number, text);
}

void config_format_default(enum config_key key, char text[VALUE_TEXT_SIZE])
{
    if (value_is_text(config_rows[key].type))
        strcpy(text, texts[key]);
    else
        value_format(config_rows[key].type, config_rows[key].otherwise, text);
}

bool config_same(const struct config *one, const struct config *other, enum config_key key)
{
    return one->values[key].number == other->values[key].number &&
           strcmp(one->values[key].text, other->values[key].text) == 0;
}

void config_source_format(const struct config *config, enum config_key key, char *text, size_t size)
{
    const struct config_value *value = &config->values[key];

    if (value->source == CONFIG_FILE)
        snprintf(text, size, "%s:%u", config->path, value->line);
    else
        snprintf(text, size, "%s", value->source == CONFIG_DEFAULT ? "default" : "command line");
}

/* ---- the file ---- */

/* A whole file; its size, or -1 with a sentence. */
static ssize_t file_read(const char *path, char *text, size_t size, char error[CONFIG_ERROR_SIZE])
{
    /* Whatever it is: a pipe must not make us wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    size_t used = 0;
    ssize_t rc = -1;

    if (fd >= 0 && fstat(fd, &status) == 0 && !S_ISREG(status.st_mode)) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    } else if (fd >= 0) {
        while (used < size && (rc = read(fd, text + used, size - used)) > 0)
            used += (size_t)rc;
    }
    if (rc < 0)
        snprintf(error, CONFIG_ERROR_SIZE, "%.300s: cannot be read: %s", path,
                 errno == EINVAL ? "it is no regular file" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc < 0 ? -1 : (ssize_t)used;
}

int config_read(struct config *config, const char *path, char error[CONFIG_ERROR_SIZE])
{
    char *text = malloc(CONFIG_MAX_FILE + 1);
    ssize_t size;
    int rc = -1;

    if (text == NULL) {
        snprintf(error, CONFIG_ERROR_SIZE, "%.300s: there is no memory to read it", path);
        return -1;
    }
    size = file_read(path, text, CONFIG_MAX_FILE + 1, error);
    if (size > (ssize_t)CONFIG_MAX_FILE)
        snprintf(error, CONFIG_ERROR_SIZE, "%.300s: is larger than %u KiB: no configuration is",
                 path, CONFIG_MAX_FILE >> 10);
    else if (size >= 0)
        rc = config_parse(config, path, text, (size_t)size, error);
    free(text);
    if (rc == 0)
        snprintf(config->path, sizeof(config->path), "%s", path);
    return rc;
}

bool config_own_path(char path[PATH_MAX])
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int size = -1;

    if (base != NULL && base[0] == '/')
        size = snprintf(path, PATH_MAX, "%s/c4p/c4pd.conf", base);
    else if (home != NULL && home[0] == '/')
        size = snprintf(path, PATH_MAX, "%s/.config/c4p/c4pd.conf", home);
    return size > 0 && size < PATH_MAX;
}

int config_load(struct config *config, const char *path, const struct config_given *given,
                char error[CONFIG_ERROR_SIZE])
{
    char own[PATH_MAX];

    config_init(config, cores_usable());
    if (path == NULL && config_own_path(own) && access(own, F_OK) == 0)
        path = own;
    if (path != NULL && config_read(config, path, error) != 0)
        return -1;
    return config_give(config, given, error);
}
