/*
 * A few nodes with their placings, and messages between them that are carried by hand: packed when
 * they are sent, unpacked when they arrive. Time stands still unless a test moves it.
 */
#ifndef C4P_TESTS_PLACING_FIXTURE_H
#define C4P_TESTS_PLACING_FIXTURE_H

#include "tests/unit/unit.h"

#include "daemon/jobs/placing.h"

#define MAX_PARTS 8
#define MAX_MESSAGES 64

struct town;

struct resident {
    struct town *town;
    struct placing *placing;
    struct member_record record; /* as all others know it */
    int64_t wake;
    /* what it was told last, and how often */
    unsigned placed, refused, changes, needs;
    uint64_t job, attempt;
    struct reservation_part parts[MAX_PARTS];
    size_t count;
    char reason[QUEUE_REASON_SIZE];
    int64_t again;
    uint64_t probe; /* the number of the last one */
    uint32_t told_free, told_queued;
    bool told_draining;
};

struct letter {
    struct node_key from, to;
    uint8_t *data;
    size_t size;
};

struct town {
    struct resident residents[4];
    const struct member_record *records[4];
    size_t count;
    int64_t now;
    struct letter letters[MAX_MESSAGES];
    size_t letter_count;
};

static inline int64_t resident_now(void *context)
{
    return ((struct resident *)context)->town->now;
}

static inline void resident_wake_at(void *context, int64_t at)
{
    ((struct resident *)context)->wake = at;
}

static inline void resident_placed(void *context, uint64_t job, uint64_t attempt,
                                   const struct reservation_part *parts, size_t count)
{
    struct resident *resident = context;

    require(count <= MAX_PARTS);
    resident->placed++;
    resident->job = job;
    resident->attempt = attempt;
    resident->count = count;
    memcpy(resident->parts, parts, count * sizeof(*parts));
}

static inline void resident_not_now(void *context, uint64_t job, const char *reason, int64_t at)
{
    struct resident *resident = context;

    resident->refused++;
    resident->job = job;
    resident->again = at;
    snprintf(resident->reason, sizeof(resident->reason), "%s", reason);
}

static inline void resident_changed(void *context)
{
    ((struct resident *)context)->changes++;
}

static inline void resident_need(void *context, uint64_t job)
{
    (void)job;
    ((struct resident *)context)->needs++;
}

static inline void resident_probe(void *context, uint64_t number, const C4p__Python *need)
{
    require(need != NULL && strcmp(need->version, "3.11") == 0);
    ((struct resident *)context)->probe = number;
}

static inline size_t resident_nodes(void *context, const struct member_record *const **nodes)
{
    struct resident *resident = context;

    *nodes = resident->town->records;
    return resident->town->count;
}

static inline int resident_send(void *context, const struct node_key *to, C4p__Peer *message)
{
    struct resident *resident = context;
    struct town *town = resident->town;
    struct letter *letter = &town->letters[town->letter_count++];

    require(town->letter_count <= MAX_MESSAGES);
    letter->from = resident->record.key;
    letter->to = *to;
    letter->size = c4p__peer__get_packed_size(message);
    letter->data = malloc(letter->size + 1);
    c4p__peer__pack(message, letter->data);
    return 0;
}

static inline void resident_load(void *context, uint32_t pes, uint32_t pes_free, uint32_t queued,
                                 bool draining)
{
    struct resident *resident = context;

    (void)pes;
    resident->told_free = pes_free;
    resident->told_queued = queued;
    resident->told_draining = draining;
}

static inline struct placing_peers resident_peers(struct resident *resident)
{
    return (struct placing_peers){
        .self = resident->record.key,
        .incarnation = resident->record.incarnation,
        .nodes = resident_nodes,
        .send = resident_send,
        .load = resident_load,
        .context = resident,
    };
}

/* `python`: jobs need one, and nodes look for it. */
static inline void town_build(struct town *town, size_t count, const uint32_t *slots, bool python)
{
    static const char *const names[] = {"alpha", "beta", "gamma", "delta"};

    memset(town, 0, sizeof(*town));
    town->count = count;
    for (size_t i = 0; i < count; i++) {
        struct resident *resident = &town->residents[i];
        const struct placing_host host = {
            .now = resident_now,
            .wake_at = resident_wake_at,
            .placed = resident_placed,
            .not_now = resident_not_now,
            .changed = resident_changed,
            .need = python ? resident_need : NULL,
            .probe = python ? resident_probe : NULL,
            .context = resident,
        };
        struct placing_peers peers;

        resident->town = town;
        resident->wake = -1;
        resident->record.key.bytes[0] = (uint8_t)(i + 1);
        resident->record.incarnation = 1;
        resident->record.state = MEMBER_ALIVE;
        resident->record.has_facts = true;
        resident->record.facts.pes = resident->record.facts.pes_free = slots[i];
        snprintf(resident->record.facts.name, sizeof(resident->record.facts.name), "%s", names[i]);
        town->records[i] = &resident->record;
        resident->placing = placing_create(&host, slots[i], i + 1);
        require(resident->placing != NULL);
        peers = resident_peers(resident);
        placing_join(resident->placing, &peers);
    }
}

static inline void town_raze(struct town *town)
{
    for (size_t i = 0; i < town->letter_count; i++)
        free(town->letters[i].data);
    for (size_t i = 0; i < town->count; i++)
        placing_destroy(town->residents[i].placing);
}

static inline struct letter letter_take(struct town *town)
{
    struct letter letter = town->letters[0];

    assert_true(town->letter_count > 0);
    town->letter_count--;
    memmove(&town->letters[0], &town->letters[1], town->letter_count * sizeof(letter));
    return letter;
}

/* The oldest message is lost. */
static inline void letter_lose(struct town *town)
{
    free(letter_take(town).data);
}

/* The oldest message arrives, `times` times. */
static inline void letter_carry(struct town *town, int times)
{
    struct letter letter = letter_take(town);
    C4p__Peer *message = c4p__peer__unpack(NULL, letter.size, letter.data);

    assert_non_null(message);
    for (int i = 0; i < times; i++)
        assert_true(placing_message(town->residents[letter.to.bytes[0] - 1].placing, &letter.from,
                                    message));
    c4p__peer__free_unpacked(message, NULL);
    free(letter.data);
}

/* All messages arrive, and those that they cause. */
static inline void letters_carry(struct town *town)
{
    while (town->letter_count > 0)
        letter_carry(town, 1);
}

/* Time passes; who wanted to be woken is. */
static inline void town_pass(struct town *town, int64_t ms)
{
    int64_t end = town->now + ms, next;

    do {
        next = end;
        for (size_t i = 0; i < town->count; i++)
            if (town->residents[i].wake >= 0 && town->residents[i].wake < next)
                next = town->residents[i].wake;
        town->now = next > town->now ? next : town->now;
        for (size_t i = 0; i < town->count; i++)
            if (town->residents[i].wake >= 0 && town->residents[i].wake <= town->now) {
                town->residents[i].wake = -1;
                placing_tick(town->residents[i].placing);
            }
    } while (town->now < end);
}

static inline void town_try(struct town *town, size_t home, uint64_t job, uint32_t pes)
{
    const struct placing_request request = {.job = job, .pes = pes};

    placing_try(town->residents[home].placing, &request);
}

static inline void assert_used(struct town *town, size_t node, uint32_t used, uint32_t guests)
{
    struct placing_figures figures = placing_figures(town->residents[node].placing);

    assert_int_equal(figures.used, used);
    assert_int_equal(figures.guests, guests);
}

#endif
