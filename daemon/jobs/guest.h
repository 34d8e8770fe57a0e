/*
 * One part of a job of another home: its crew here, and what its home is told of it. For guests.c.
 */
#ifndef C4P_DAEMON_JOBS_GUEST_H
#define C4P_DAEMON_JOBS_GUEST_H

#include <uthash.h>

#include "daemon/jobs/crew.h"
#include "daemon/jobs/guests.h"
#include "daemon/jobs/span.h"
#include "proto/control.pb-c.h"

struct provision;

enum guest_state { GUEST_FITTING = 0, GUEST_READY, GUEST_LAUNCHED, GUEST_GONE, GUEST_ENDING };

struct guest_key {
    struct node_key home;
    uint64_t job, attempt;
};

struct guest {
    UT_hash_handle hh;
    struct guest_key key;
    char subject[32];
    const struct job_place *place; /* borrowed */
    enum guest_state state;
    uint64_t incarnation; /* of the home */
    struct letters letters;
    struct event *timer; /* of the letters */
    struct event *soon;  /* acknowledge, and go if it is time: when nobody is in the middle of it */
    struct span_identity identity;
    struct job_node *nodes;
    uint32_t node_count, node, pes; /* nodes of the job, this one, PEs of all of them */
    uint64_t region_size;
    bool input; /* PE 0 is given standard input */
    struct provision *provision;
    struct crew *crew;                                 /* from READY on */
    uint64_t posted;                                   /* bytes of output that were sent, in all */
    uint64_t taken;                                    /* ... and put away by the home */
    void (*over)(void *context, struct guest *guest);  /* it is to be destroyed now */
    void (*empty)(void *context, struct guest *guest); /* no PE is left, before that is told */
    void *context;
    bool freed;                 /* its slots are */
    char buffer[OUTPUT_BUFFER]; /* what was read last of a pipe */
};

/* What `prepare` says, which was checked by nobody. NULL with a sentence. */
struct guest *guest_create(const struct guests_settings *settings, const struct node_key *home,
                           const C4p__Peer *message, char error[JOB_ERROR_SIZE]);
/* Kills what lives. */
void guest_destroy(struct guest *guest);

/* Make the crew: -1 with a sentence. */
int guest_man(struct guest *guest, const C4p__Submit *submit, const char *mark,
              char error[JOB_ERROR_SIZE]);
/* Say how the preparation ended: `failed` NULL: well. */
void guest_tell_prepared(struct guest *guest, const char *failed, bool unfit);
void guest_launch(struct guest *guest);
/* Tell the home that the PEs cannot stay, and why. */
void guest_tell_failed(struct guest *guest, const char *why);
/* A letter or an acknowledgement of the home has come. */
void guest_acknowledged(struct guest *guest, const C4p__GuestAck *ack);
/* Acknowledge what has come, soon. */
void guest_settle_soon(struct guest *guest);
/* Nobody waits for it any more: kill it, and go. */
void guest_end(struct guest *guest);
/* Something has changed: has the last PE gone? */
void guest_look(struct guest *guest);

#endif
