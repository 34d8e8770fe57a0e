/*
 * What the daemon tells, as JSON (c4py(1) describes every field, and these are all of them) and as
 * an exit code.
 */
#ifndef C4P_CLIENT_CLI_DESCRIBE_H
#define C4P_CLIENT_CLI_DESCRIBE_H

#include "client/c4p.h"
#include "client/cli/json.h"

/* Values inside a list, or by themselves. */
void describe_job(struct json *json, const struct c4p_job_info *info);
void describe_session(struct json *json, const struct c4p_job_info *info);
void describe_status(struct json *json, const struct c4p_daemon_status *status);

/* Lines of the stream of a job that is followed. */
void describe_accepted(struct json *json, uint64_t job);
void describe_state(struct json *json, const struct c4p_event *event);
void describe_output(struct json *json, const struct c4p_event *event);
void describe_gap(struct json *json, uint64_t job, uint64_t pieces);
void describe_ended(struct json *json, const struct c4p_event *event);

/* "completed" and beyond. */
bool state_is_over(enum c4p_state state);

/* What C4P_EVENT_ENDED means for the exit code of a process: 0 for success only. */
int exit_code_of_end(const struct c4p_event *event);

#endif
