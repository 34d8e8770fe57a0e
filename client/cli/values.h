/*
 * Setters of option rows: a value from the command line is checked and put into struct options.
 */
#ifndef C4P_CLIENT_CLI_VALUES_H
#define C4P_CLIENT_CLI_VALUES_H

#include "client/cli/options.h"

typedef int option_setter(struct options *options, const struct option_row *row, const char *typed,
                          const char *value);

option_setter set_flag; /* the bool at row->member is true */
option_setter set_text; /* the string at row->member is what was typed */
option_setter set_pes, set_nodes, set_segment_size, set_env, set_include, set_log_level, set_name,
    set_priority, set_time_limit, set_timeout, set_last, set_tail;

#endif
