#include "daemon/cluster/refusals.h"

#include <stdarg.h>
#include <stdio.h>

#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"

#define SENTENCE_SIZE 400

void refusals_add(struct refusals *refusals, const char *format, ...)
{
    const int64_t now = clock_ms();
    char sentence[SENTENCE_SIZE];
    va_list arguments;

    if (refusals->count++ == 0 || now - refusals->since >= REFUSALS_LOGGED_MS) {
        if (refusals->logged > REFUSALS_LOGGED)
            log_write(LOG_WARNING, "cluster", "%u more were refused",
                      refusals->logged - REFUSALS_LOGGED);
        refusals->since = now;
        refusals->logged = 0;
    }
    if (refusals->logged++ >= REFUSALS_LOGGED)
        return;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    words_clean(sentence);
    log_write(LOG_WARNING, "cluster", "refused %s", sentence);
}
