/*
 * What can be configured: one table of keys, and where each value came from.
 *
 * A value is the default, or what the configuration file says, or what the command line says. The
 * file is INI, read through libinih; whatever is wrong with it is an error that names the file, the
 * line and the key. The options of the command line, their help, `c4pd config` and the manual
 * c4pd.conf(5) follow the table.
 */
#ifndef C4P_DAEMON_CONFIG_H
#define C4P_DAEMON_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/value.h"

enum config_key {
    CONFIG_PES,
    CONFIG_LOG_LEVEL,
    CONFIG_LOG_SIZE,
    CONFIG_MAX_CLIENTS,
    CONFIG_DRAIN_TIME,
    CONFIG_QUEUE_LIMIT,
    CONFIG_OUTPUT_LIMIT,
    CONFIG_KEEP,
    CONFIG_KEEP_TIME,
    CONFIG_BUNDLE_LIMIT,
    CONFIG_BUNDLE_KEEP,
    CONFIG_SESSION_TTL,
    CONFIG_LISTEN,
    CONFIG_ADVERTISE,
    CONFIG_DATA_LISTEN,
    CONFIG_KEYS
};

struct config_row {
    const char *section, *key;
    const char *option; /* on the command line */
    const char *value;  /* what it is called in the help */
    enum value_type type;
    uint64_t otherwise;   /* default; of CONFIG_PES: 0, the cores that c4pd may use */
    uint64_t least, most; /* what is allowed */
    bool reloadable;      /* `c4pd reload` changes it */
    const char *help;
};

extern const struct config_row config_rows[CONFIG_KEYS];

/* Largest file, longest line of it. */
#define CONFIG_MAX_FILE (64u << 10)
#define CONFIG_MAX_LINE 160

enum config_source { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_COMMAND_LINE };

struct config_value {
    uint64_t number;
    char text[VALUE_TEXT_SIZE]; /* of those that are text */
    enum config_source source;
    unsigned line; /* of the file */
};

struct config {
    struct config_value values[CONFIG_KEYS];
    char path[PATH_MAX]; /* of the file that was read; empty: none */
};

/* What the command line says: values as they were given, NULL where nothing was. */
struct config_given {
    const char *values[CONFIG_KEYS];
};

#define CONFIG_ERROR_SIZE 512

/* Functions that return 0, or -1 with a sentence in `error`. */

/* Defaults, on a machine where we may use so many cores. */
void config_init(struct config *config, uint32_t cores);
/* One value, from where `origin` says; without the name of the key in `error`. */
int config_set(struct config *config, enum config_key key, const char *text,
               struct config_value origin, char error[CONFIG_ERROR_SIZE]);
/* The text of a file, called `name` in errors (config_text.c). */
int config_parse(struct config *config, const char *name, const char *text, size_t size,
                 char error[CONFIG_ERROR_SIZE]);
int config_read(struct config *config, const char *path, char error[CONFIG_ERROR_SIZE]);
int config_give(struct config *config, const struct config_given *given,
                char error[CONFIG_ERROR_SIZE]);

/*
 * All of it: defaults, then the file, then the command line. `path` NULL: the user's own file, if
 * there is one.
 */
int config_load(struct config *config, const char *path, const struct config_given *given,
                char error[CONFIG_ERROR_SIZE]);
/* $XDG_CONFIG_HOME/c4p/c4pd.conf, or the same under ~/.config. False: there is no home. */
bool config_own_path(char path[PATH_MAX]);

/* The default as text. */
void config_format_default(enum config_key key, char text[VALUE_TEXT_SIZE]);
bool config_same(const struct config *one, const struct config *other, enum config_key key);
void config_format(const struct config *config, enum config_key key, char text[VALUE_TEXT_SIZE]);
/* "default", "/home/me/.config/c4p/c4pd.conf:3", "command line" */
void config_source_format(const struct config *config, enum config_key key, char *text,
                          size_t size);

#endif
