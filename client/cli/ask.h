/*
 * Requests of commands that ask and go: attach, ask, wait for the answer. Nothing here waits for
 * ever: a daemon that is silent for ASK_SECONDS is reported.
 */
#ifndef C4P_CLIENT_CLI_ASK_H
#define C4P_CLIENT_CLI_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "client/c4p.h"
#include "client/cli/json.h"
#include "client/cli/options.h"

#define ASK_SECONDS 10
#define ASK_ERROR_SIZE 640

/* NULL after a line on standard error. */
struct c4p_client *ask_attach(const struct options *options);

/* What comes before a request is done: C4P_EVENT_JOB, and what else answers it. */
typedef void ask_each(void *context, const struct c4p_event *event);

/*
 * Wait until a request is answered; `each` may be NULL. Takes what c4p_...() returned, with errno.
 * 0, or -1 with a sentence.
 */
int ask(struct c4p_client *client, int64_t request, ask_each *each, void *context,
        char error[ASK_ERROR_SIZE]);

/* A job as it was when it was found. */
struct ask_job {
    uint64_t id; /* 0: none */
    enum c4p_state state;
    uint64_t output_next;
    bool session;
};

/* The job of a word that the user typed. 0, or -1 with a sentence. */
int ask_find(struct c4p_client *client, const char *word, struct ask_job *job,
             char error[ASK_ERROR_SIZE]);

/* A line on standard error: "c4py: sentence". Returns 1, an exit code. */
int ask_failed(const char *sentence);

/* Print what is complete. An exit code. */
int ask_print_json(struct json *json);

/* Milliseconds since 1970. */
uint64_t ask_time_of_day(void);

#endif
