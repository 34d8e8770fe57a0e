/*
 * A Submit of control.proto as a job takes it: C strings, checked.
 */
#ifndef C4P_DAEMON_JOBS_SUBMISSION_H
#define C4P_DAEMON_JOBS_SUBMISSION_H

#include "daemon/jobs/job.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

#define SUBMISSION_MAX_NAME 128

struct submission {
    struct job_request request; /* its pointers lead to what is below */
    char **argv, **env;
    char *cwd;
    char name[SUBMISSION_MAX_NAME + 1];
};

/*
 * -1 with a sentence: no command, a NUL in a string, a name that is too long, a priority out of
 * range. What only the system knows (is there such a program?) is job_check()'s. Free is safe on a
 * zeroed struct, and after a failure.
 */
int submission_init(struct submission *submission, const C4p__Submit *submit,
                    char error[JOB_ERROR_SIZE]);
void submission_free(struct submission *submission);

/* A name for a job that has none: its program, or what an interpreter is to run. */
void submission_name(char *const *argv, char name[SUBMISSION_MAX_NAME + 1]);

#endif
