/*
 * Asking Python interpreters what they are and what they find: c4py/_probe.py, run as a child in the
 * event loop.
 *
 * What was asked is kept for a while by all that the answer depends on: the program, its time of
 * change, the environment, and the modules. Who asks for what is being asked already waits for that.
 */
#ifndef C4P_DAEMON_JOBS_INTERPRETER_H
#define C4P_DAEMON_JOBS_INTERPRETER_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/jobs/job.h"

#define INTERPRETER_WORD_SIZE 32
/* All that it may say. */
#define INTERPRETER_MAX_ANSWER (64u << 10)
/* Answers that are kept, and questions at a time. */
#define INTERPRETER_MAX_KEPT 64

struct interpreters;
struct interpreter_wait;

struct interpreter_answer {
    char trouble[160]; /* why there is no answer, without the program's name; or empty */
    char version[INTERPRETER_WORD_SIZE]; /* 3.11 */
    char package[INTERPRETER_WORD_SIZE]; /* release of c4py; empty: it cannot be imported */
    const char *missing, *standard;      /* of the modules: names, each with a newline behind it */
};

struct interpreter_question {
    const char *path;
    char *const *env;      /* as the job has it; what is ours and PYTHONPATH is taken out */
    const char *path_list; /* PYTHONPATH instead: directories with colons between them, or empty */
    const char *const *modules;
    size_t count;
};

/* NULL with errno. `place` is borrowed. Destroy kills what runs, and tells nobody. */
struct interpreters *interpreters_create(const struct job_place *place);
void interpreters_destroy(struct interpreters *interpreters);

/* Told once, by the event loop. The answer is good during the call. NULL with errno. */
typedef void interpreter_told(void *context, const struct interpreter_answer *answer);
struct interpreter_wait *interpreters_ask(struct interpreters *interpreters,
                                          const struct interpreter_question *question,
                                          interpreter_told *told, void *context);
/* Not to be told any more. NULL-safe. */
void interpreter_wait_cancel(struct interpreter_wait *wait);

/* Is a module's name in such a list? */
bool interpreter_lists(const char *list, const char *module);

#endif
