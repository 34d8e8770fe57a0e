#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[LOG_LEVELS] = {"error", "warning", "info", "debug"};
static enum log_level most = LOG_WARNING;

void log_level_set(enum log_level level)
{
    most = level;
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

void log_write(enum log_level level, const char *subject, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    int used, more;

    if (level > most)
        return;
    used = snprintf(line, sizeof(line) / 2, "c4pd: %s %s: ", level_names[level], subject);
    if (used < 0)
        return;
    if ((size_t)used >= sizeof(line) / 2)
        used = sizeof(line) / 2 - 1;
    va_start(arguments, format);
    more = vsnprintf(line + used, sizeof(line) - 1 - (size_t)used, format, arguments);
    va_end(arguments);
    if (more > 0)
        used +=
            (size_t)more < sizeof(line) - 1 - (size_t)used ? more : (int)sizeof(line) - 2 - used;
    line[used++] = '\n';
    /* A log that cannot be written is lost: there is nobody to tell. */
    if (write(STDERR_FILENO, line, (size_t)used) < 0)
        return;
}
