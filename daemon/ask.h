/*
 * A command asks the daemon of its state directory something about the cluster: Admin at the door
 * (control/attach.h), one answer.
 */
#ifndef C4P_DAEMON_ASK_H
#define C4P_DAEMON_ASK_H

#include <stdbool.h>

#include "daemon/options.h"
#include "proto/control.pb-c.h"

/* The answer, to be freed with ask_free(); what the daemon refuses it says in there. NULL with
 * errno. */
C4p__AdminAnswer *ask(const char *state_dir, C4p__Admin__BodyCase body, void *question);
void ask_free(C4p__AdminAnswer *answer);
/* Right after an answer of NULL: because no daemon runs? */
bool ask_found_nobody(void);

/* For a person: a refusal, or right after ask() no answer, is said on standard error. NULL then, and
 * *code is what to leave with. */
C4p__AdminAnswer *ask_judge(const char *state_dir, C4p__AdminAnswer *answer, int *code);
/* Both. */
C4p__AdminAnswer *ask_or_say(const char *state_dir, C4p__Admin__BodyCase body, void *question,
                             int *code);

#endif
