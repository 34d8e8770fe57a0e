#define _GNU_SOURCE
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log_line.h"

static const char *const level_names[LOG_LEVELS] = {"error", "warning", "info", "debug"};

static struct {
    enum log_level most;
    bool logfmt, journal;
    struct log_repeats repeats;
    char path[PATH_MAX]; /* empty: standard error is not ours */
    uint64_t limit, size;
    unsigned long lost; /* lines that could not be written */
} the_log = {.most = LOG_WARNING};

void log_level_set(enum log_level level)
{
    the_log.most = level;
}

bool log_level_parse(const char *name, enum log_level *level)
{
    for (unsigned i = 0; i < LOG_LEVELS; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < LOG_LEVELS ? level_names[level] : "?";
}

/* Is standard error systemd's journal? Then JOURNAL_STREAM has its "device:inode". */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;

    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void log_form_logfmt(void)
{
    the_log.logfmt = true;
    the_log.journal = is_journal();
}

/* ---- the file ---- */

static int file_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat status;
    int error = 0;

    if (fd < 0)
        return -1;
    if (dup2(fd, STDERR_FILENO) < 0 || fstat(STDERR_FILENO, &status) != 0)
        error = errno;
    close(fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    the_log.size = (uint64_t)status.st_size;
    return 0;
}

int log_open(const char *path, uint64_t limit)
{
    if (strlen(path) >= sizeof(the_log.path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (file_open(path) != 0)
        return -1;
    the_log.journal = false;
    strcpy(the_log.path, path);
    log_limit_set(limit);
    return 0;
}

void log_limit_set(uint64_t limit)
{
    the_log.limit = limit > LOG_MIN_LIMIT ? limit : LOG_MIN_LIMIT;
}

int log_reopen(void)
{
    return the_log.path[0] == '\0' ? 0 : file_open(the_log.path);
}

static void file_rotate(void)
{
    char old[PATH_MAX + 2];

    snprintf(old, sizeof(old), "%s.1", the_log.path);
    if ((rename(the_log.path, old) == 0 || errno == ENOENT) && file_open(the_log.path) == 0)
        return;
    /* No new file: the old one begins again, since it must not grow. */
    if (ftruncate(STDERR_FILENO, 0) == 0)
        the_log.size = 0;
}

/* A log that cannot be written is lost: there is nobody to tell until it can be. */
static bool line_write(const char *line, size_t size)
{
    ssize_t written;

    if (the_log.path[0] != '\0' && the_log.size + size > the_log.limit)
        file_rotate();
    written = write(STDERR_FILENO, line, size);
    if (the_log.path[0] == '\0')
        return written == (ssize_t)size;
    if (written == (ssize_t)size) {
        the_log.size += size;
        return true;
    }
    /* Half a line would spoil the next one as well. */
    if (written > 0 && ftruncate(STDERR_FILENO, (off_t)the_log.size) != 0)
        the_log.size += (uint64_t)written;
    return false;
}

/* ---- messages ---- */

static int64_t clock_read_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool message_put(const struct log_message *message)
{
    /* The priorities of syslog(3), by which journalctl selects. */
    static const char *const priorities[LOG_LEVELS] = {"<3>", "<4>", "<6>", "<7>"};
    char text[LOG_LINE_SIZE + 3], *line = text;
    size_t before = the_log.journal ? 3 : 0;

    memcpy(text, priorities[message->level], 3);
    line += before;
    if (the_log.logfmt)
        return line_write(text,
                          before + log_line_logfmt(line, message, clock_read_ms(CLOCK_REALTIME)));
    return line_write(text, before + log_line_for_person(line, message));
}

/* Put a message, after the news of those that could not be. */
static void message_write(const struct log_message *message)
{
    char text[64];
    const struct log_message news = {LOG_WARNING, "log", text};

    if (the_log.lost > 0) {
        snprintf(text, sizeof(text), "lines that could not be written: %lu", the_log.lost);
        if (message_put(&news))
            the_log.lost = 0;
    }
    if (!message_put(message))
        the_log.lost++;
}

static void repeats_write(int64_t now, bool all)
{
    struct log_repeat repeat;

    while (log_repeats_take(&the_log.repeats, now, all, &repeat)) {
        char text[sizeof(repeat.text) + 64];
        const struct log_message message = {repeat.level, repeat.subject, text};

        snprintf(text, sizeof(text), "%s (%u more times in %d s)", repeat.text,
                 (unsigned)(repeat.seen - LOG_BURST), (int)((now - repeat.since + 999) / 1000));
        message_write(&message);
    }
}

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
    const int before = errno;
    char text[LOG_LINE_SIZE];
    const struct log_message message = {level, subject, text};
    va_list arguments;
    int64_t now;

    if (level > the_log.most)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    now = clock_read_ms(CLOCK_MONOTONIC);
    repeats_write(now, false);
    if (log_repeats_pass(&the_log.repeats, &message, now))
        message_write(&message);
    errno = before;
}

void log_flush(void)
{
    repeats_write(clock_read_ms(CLOCK_MONOTONIC), true);
}
