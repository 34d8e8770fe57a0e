/*
 * Figures and sentences for a person.
 */
#ifndef C4P_DAEMON_WORDS_H
#define C4P_DAEMON_WORDS_H

#include <stdint.h>

#define WORDS_SIZE 48

/* "1 h 30 min", "2.5 s": the two largest units, rounded down. Returns `text`. */
const char *words_duration(uint64_t ms, char text[WORDS_SIZE]);

/*
 * Names and paths are bytes, sentences are UTF-8 on one line: what is not becomes question marks,
 * in place. A name that was cut in the middle of a character is mended so as well.
 */
void words_clean(char *sentence);

#endif
