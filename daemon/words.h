/*
 * Figures as a person says them.
 */
#ifndef C4P_DAEMON_WORDS_H
#define C4P_DAEMON_WORDS_H

#include <stdint.h>

#define WORDS_SIZE 48

/* "1 h 30 min", "2.5 s": the two largest units, rounded down. Returns `text`. */
const char *words_duration(uint64_t ms, char text[WORDS_SIZE]);

#endif
