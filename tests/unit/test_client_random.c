/*
 * libc4p against a daemon that dies, or loses its client, at random: whatever happens, each job is
 * made once, and each piece of its output and its end are delivered once and in order.
 *
 * The oracle is what the daemon keeps over its deaths: jobs by their keys, as the store does. A
 * failing seed is printed; C4P_SEED repeats it (but for what the kernel and ZeroMQ do in their own
 * time).
 */
#include "tests/unit/fake_daemon.h"

#define JOBS 12
#define LOSSES 8

/* What outlasts the daemon's death. */
struct kept_job {
    uint8_t key[CONTROL_KEY_SIZE];
    uint64_t pieces;
};

/* What a connection has. */
struct served_job {
    bool followed, ended;
    uint64_t sent, acknowledged;
};

struct seen_job {
    int64_t request;
    uint64_t job; /* 0: not accepted yet */
    uint64_t pieces, dealt_with;
    bool ended;
};

struct play {
    struct fake fake;
    struct dice dice;
    bool up, greeted;
    struct kept_job kept[JOBS];
    unsigned kept_count;
    struct served_job served[JOBS];
    struct seen_job seen[JOBS];
    unsigned submitted, accepted, ended, losses;
    bool lost; /* as the client says */
};

/* ---- the daemon ---- */

static void play_forget_client(struct play *play)
{
    fake_door_close(&play->fake);
    play->greeted = false;
    memset(play->served, 0, sizeof(play->served));
}

static void play_follow(struct play *play, uint64_t id, uint64_t job, uint64_t from)
{
    struct served_job *served = &play->served[job - 1];

    require(job >= 1 && job <= play->kept_count && !served->followed);
    if (from == 0)
        from = 1;
    *served = (struct served_job){true, false, from - 1, from - 1};
    fake_following(&play->fake, id, job, from, from);
}

/* The job of a key, new or not; as in the protocol, 1, 2, 3 ... are ids. */
static uint64_t play_keep(struct play *play, const C4p__Submit *submit)
{
    struct kept_job *kept = play->kept;

    require(submit->key.len == CONTROL_KEY_SIZE && submit->follow);
    while (kept < play->kept + play->kept_count &&
           memcmp(kept->key, submit->key.data, CONTROL_KEY_SIZE) != 0)
        kept++;
    if (kept == play->kept + play->kept_count) {
        require(play->kept_count < JOBS); /* no job is made twice */
        memcpy(kept->key, submit->key.data, CONTROL_KEY_SIZE);
        kept->pieces = dice_below(&play->dice, 300);
        play->kept_count++;
    }
    return (uint64_t)(kept - play->kept) + 1;
}

static void play_request(struct play *play, const C4p__Request *request)
{
    struct fake *fake = &play->fake;
    uint64_t job;

    switch (request->body_case) {
    case C4P__REQUEST__BODY_HELLO:
        play->greeted = fake->door >= 0;
        if (play->greeted)
            fake_welcome_send(fake);
        break;
    case C4P__REQUEST__BODY_SUBMIT:
        job = play_keep(play, request->submit);
        if (dice_below(&play->dice, 4) == 0)
            break; /* the answer will be too late */
        fake_accepted(fake, request->id, job);
        play_follow(play, request->id, job, 0);
        break;
    case C4P__REQUEST__BODY_FOLLOW:
        require(request->follow->lossless);
        play_follow(play, request->id, request->follow->job, request->follow->from);
        break;
    case C4P__REQUEST__BODY_OUTPUT_ACK:
        job = request->output_ack->job;
        require(job >= 1 && job <= play->kept_count);
        if (play->served[job - 1].acknowledged < request->output_ack->sequence)
            play->served[job - 1].acknowledged = request->output_ack->sequence;
        break;
    default:
        require(false);
    }
}

/* The next frame; of a client before this one, or one that is gone: nobody's. */
static void play_mail(struct play *play)
{
    static uint8_t frame[CONTROL_MAX_MESSAGE];
    uint8_t identity[256];
    int size = zmq_recv(play->fake.router, identity, sizeof(identity), ZMQ_DONTWAIT), frame_size;
    C4p__Request *request;

    if (size <= 0)
        return;
    frame_size = zmq_recv(play->fake.router, frame, sizeof(frame), ZMQ_DONTWAIT);
    require(frame_size > 0);
    request = c4p__request__unpack(NULL, (size_t)frame_size, frame);
    require(request != NULL);
    if (request->body_case == C4P__REQUEST__BODY_HELLO) {
        memcpy(play->fake.identity, identity, (size_t)size);
        play->fake.identity_size = (size_t)size;
    }
    if (request->body_case == C4P__REQUEST__BODY_HELLO ||
        (play->greeted && play->fake.identity_size == (size_t)size &&
         memcmp(play->fake.identity, identity, (size_t)size) == 0))
        play_request(play, request);
    c4p__request__free_unpacked(request, NULL);
}

static void play_door(struct play *play)
{
    struct pollfd polled[] = {{play->fake.listener, POLLIN, 0}, {play->fake.door, POLLIN, 0}};
    uint8_t packet[1024];

    require(poll(polled, 2, 0) >= 0);
    if (polled[1].revents != 0) {
        if (recv(play->fake.door, packet, sizeof(packet), 0) > 0)
            fake_ticket_send(&play->fake);
        else
            play_forget_client(play);
    } else if (polled[0].revents != 0) {
        play_forget_client(play);
        play->fake.door = accept4(play->fake.listener, NULL, NULL, SOCK_CLOEXEC);
        require(play->fake.door >= 0);
    }
}

static void play_output(struct play *play)
{
    for (uint64_t job = 1; job <= play->kept_count; job++) {
        struct served_job *served = &play->served[job - 1];
        uint64_t batch = dice_below(&play->dice, 20);

        for (; batch > 0 && served->followed && served->sent < play->kept[job - 1].pieces &&
               served->sent - served->acknowledged < CONTROL_OUTPUT_WINDOW;
             batch--)
            fake_output(&play->fake, job, ++served->sent);
        if (served->followed && !served->ended && served->sent >= play->kept[job - 1].pieces) {
            served->ended = true;
            fake_ended(&play->fake, job);
        }
    }
}

/* A submission whose answer was held back needs a loss to be asked again. */
static bool play_owes(const struct play *play)
{
    for (uint64_t job = 1; job <= play->kept_count; job++)
        if (play->greeted && !play->served[job - 1].followed)
            return true;
    return false;
}

static void play_fate(struct play *play)
{
    bool due = play->losses < LOSSES || play_owes(play);

    if (!play->up) {
        fake_start(&play->fake);
        play->up = true;
    } else if (due && dice_below(&play->dice, 60) == 0) {
        play->losses += play->greeted;
        if (dice_below(&play->dice, 2) == 0) {
            fake_die(&play->fake);
            play->up = false;
        }
        play_forget_client(play);
    }
}

/* ---- the client ---- */

static struct seen_job *seen_find(struct play *play, uint64_t job)
{
    for (struct seen_job *seen = play->seen; seen < play->seen + play->submitted; seen++)
        if (seen->job == job)
            return seen;
    require(false);
    return NULL;
}

static void play_accepted(struct play *play, const struct c4p_event *event)
{
    struct seen_job *seen = play->seen;

    while (seen < play->seen + play->submitted && seen->request != event->request)
        seen++;
    require(seen < play->seen + play->submitted && seen->job == 0);
    for (unsigned i = 0; i < play->submitted; i++)
        require(play->seen[i].job != event->job);
    seen->job = event->job;
    play->accepted++;
}

static void play_event(struct play *play, const struct c4p_event *event)
{
    struct seen_job *seen;

    switch (event->kind) {
    case C4P_EVENT_ACCEPTED:
        play_accepted(play, event);
        break;
    case C4P_EVENT_FOLLOWING:
        seen = seen_find(play, event->job);
        require(!seen->ended && event->first == seen->pieces + 1);
        require(event->request == 0 || event->request == seen->request);
        break;
    case C4P_EVENT_OUTPUT:
        seen = seen_find(play, event->job);
        require(!seen->ended && event->sequence == ++seen->pieces);
        break;
    case C4P_EVENT_ENDED:
        seen = seen_find(play, event->job);
        require(!seen->ended && seen->pieces == play->kept[event->job - 1].pieces);
        seen->ended = true;
        play->ended++;
        break;
    case C4P_EVENT_LOST:
    case C4P_EVENT_BACK:
        require(play->lost == (event->kind == C4P_EVENT_BACK));
        play->lost = event->kind == C4P_EVENT_LOST;
        break;
    default:
        require(false);
    }
}

static void play_submit(struct play *play)
{
    struct c4p_job job = some_job;
    struct seen_job *seen = &play->seen[play->submitted];

    /* Not all before the first loss. */
    if (play->submitted == JOBS || play->submitted >= 2 * play->losses + 2 ||
        dice_below(&play->dice, 10) != 0)
        return;
    job.follow = true;
    seen->request = c4p_submit(play->fake.client, &job);
    require(seen->request > 0);
    play->submitted++;
}

/* Pieces are dealt with now or later. */
static void play_deal(struct play *play)
{
    for (unsigned i = 0; i < play->submitted; i++) {
        struct seen_job *seen = &play->seen[i];

        while (seen->dealt_with < seen->pieces && dice_below(&play->dice, 30) != 0)
            require(c4p_output_done(play->fake.client, seen->job, ++seen->dealt_with) == 0);
    }
}

static void play_client(struct play *play)
{
    struct c4p_event event;
    int rc = 1;

    play_submit(play);
    for (uint64_t turns = dice_below(&play->dice, 40); turns > 0 && rc == 1; turns--) {
        rc = c4p_next(play->fake.client, &event);
        require(rc >= 0);
        if (rc == 1)
            play_event(play, &event);
    }
    play_deal(play);
}

/* Until somebody has something to do, or it is time to look. */
static void play_rest(struct play *play)
{
    zmq_pollitem_t items[] = {{play->up ? play->fake.router : NULL,
                               play->up ? 0 : c4p_fd(play->fake.client), ZMQ_POLLIN, 0},
                              {NULL, c4p_fd(play->fake.client), ZMQ_POLLIN, 0},
                              {NULL, play->fake.listener, ZMQ_POLLIN, 0}};

    require(zmq_poll(items, play->up ? 3 : 2, 2) >= 0);
}

static void jobs_and_output_survive_any_losses(uint64_t seed)
{
    struct play play;

    memset(&play, 0, sizeof(play));
    play.dice = dice_seeded(seed);
    fake_create(&play.fake);
    play.up = play.greeted = true;
    fake_attached(&play.fake);
    while (play.ended < JOBS) {
        play_fate(&play);
        if (play.up) {
            play_door(&play);
            play_mail(&play);
        }
        if (play.greeted)
            play_output(&play);
        play_client(&play);
        play_rest(&play);
    }
    assert_int_equal(play.kept_count, JOBS);
    assert_int_equal(play.accepted, JOBS);
    assert_true(play.losses >= JOBS / 2 - 1);
    c4p_close(play.fake.client);
    if (!play.up)
        fake_start(&play.fake);
    fake_end(&play.fake);
}

static void whatever_is_lost_jobs_are_made_once_and_output_comes_once_and_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + stress(3); seed++) {
        seed_in_use = seed;
        jobs_and_output_survive_any_losses(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(whatever_is_lost_jobs_are_made_once_and_output_comes_once_and_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
