/*
 * JSON for programs that read what c4pd prints.
 */
#ifndef C4P_DAEMON_JSON_H
#define C4P_DAEMON_JSON_H

#include <stdio.h>

/* A string with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void json_put_string(FILE *file, const char *text);

#endif
