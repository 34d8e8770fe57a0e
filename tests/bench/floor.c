/*
 * The floors under the figures of the benchmark: what this machine gives to two processes that share
 * memory, by hand (ring, copy) and by the modules of proto/ (inbox: a block is allocated, filled,
 * queued, taken, checked and returned). Prints JSON on one line; figures are medians.
 *
 *     floor [ROUNDS [SCALE]]      rounds per figure (5), factor on the length of each (1.0)
 *
 *   ring_*_us, copy_*_us, inbox_*_us   round trip of that many bytes, one copy in at each end, both
 *                                      spin
 *   *_sleep_us, *_sleep_one_core_us    round trip of 8 bytes, both ends sleep on a futex: on two
 *                                      cores, on one
 *   one_way_per_s                      messages of 8 bytes, by inbox
 *   memcpy_16m*_gb_s                   copy of 16 MB: warm, and to pages that were never touched
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/envelope.h"
#include "proto/inbox.h"
#include "proto/region.h"
#include "proto/segment.h"

#define EPOCH 1
#define LARGEST (16u << 20)
#define MAX_ROUNDS 101

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "floor: %s:%d: %s failed: %s\n", __FILE__, __LINE__, #condition,       \
                    strerror(errno));                                                              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* ---- two processes ---- */

/* What the two share besides the segment. One side writes `there`, the other `back`. */
struct shared {
    _Alignas(CACHE_LINE) _Atomic uint32_t there;
    _Alignas(CACHE_LINE) _Atomic uint32_t back;
    _Alignas(4096) uint8_t buffer[2][LARGEST];
};

/* One of the two. */
struct side {
    uint32_t number; /* 0: begins and is timed; 1: answers */
    struct shared *shared;
    const struct segment *segment;
    struct region *region;
    struct region_returns returns;
    uint8_t *source; /* what is sent */
    size_t size;
    unsigned long count;
};

static void relax(unsigned long *spins)
{
    /* On a machine with less than two free cores the other side needs this one. */
    if (++*spins % 4096 == 0)
        sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Put a process on the n-th of the cores that it may use; where there is one only, both are on it. */
static void pin(unsigned n)
{
    cpu_set_t allowed, one;
    unsigned count, seen = 0;

    require(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
    count = (unsigned)CPU_COUNT(&allowed);
    CPU_ZERO(&one);
    for (unsigned core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && seen++ == n % count) {
            CPU_SET(core, &one);
            require(sched_setaffinity(0, sizeof(one), &one) == 0);
            return;
        }
}

/* ---- the raw ring ---- */

static void word_wait(_Atomic uint32_t *word, uint32_t value)
{
    unsigned long spins = 0;

    while (atomic_load_explicit(word, memory_order_acquire) != value)
        relax(&spins);
}

static void ring_round_trips(struct side *side)
{
    struct shared *shared = side->shared;

    for (uint32_t i = 1; i <= side->count; i++) {
        if (side->number == 0) {
            memcpy(shared->buffer[0], side->source, side->size);
            atomic_store_explicit(&shared->there, i, memory_order_release);
            word_wait(&shared->back, i);
        } else {
            word_wait(&shared->there, i);
            memcpy(shared->buffer[1], side->source, side->size);
            atomic_store_explicit(&shared->back, i, memory_order_release);
        }
    }
}

static void futex_post(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    while (atomic_load(word) != value)
        syscall(SYS_futex, word, FUTEX_WAIT, value - 1, NULL, NULL, 0);
}

static void ring_sleeps(struct side *side)
{
    struct shared *shared = side->shared;

    for (uint32_t i = 1; i <= side->count; i++) {
        if (side->number == 0) {
            futex_post(&shared->there, i);
            futex_wait(&shared->back, i);
        } else {
            futex_wait(&shared->there, i);
            futex_post(&shared->back, i);
        }
    }
}

/* ---- inboxes ---- */

static void message_send(struct side *side)
{
    uint64_t offset = region_alloc(side->region, C4P_ENVELOPE_SIZE + side->size);
    struct c4p_envelope *block;

    require(offset != 0);
    block = segment_block(side->segment, offset);
    memset(block, 0, sizeof(*block));
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = C4P_CALL;
    block->epoch = EPOCH;
    block->source = side->number;
    block->target = 1 - side->number;
    block->body_size = side->size;
    memcpy(block + 1, side->source, side->size);
    inbox_push(side->segment, block->target, offset);
}

static void messages_handle(struct side *side, uint64_t offset, unsigned long *count)
{
    while (offset != 0) {
        struct c4p_envelope *block = segment_block(side->segment, offset), envelope;
        uint64_t next = block->next;

        require(envelope_check(block, segment_room(side->segment, offset), EPOCH, &envelope) ==
                C4P_ENVELOPE_OK);
        region_returns_add(&side->returns, offset, envelope.body_size > REGION_MAX_SMALL);
        offset = next;
        ++*count;
    }
}

static void message_receive(struct side *side, bool asleep)
{
    unsigned long count = 0, spins = 0;
    uint64_t offset;

    while ((offset = inbox_take(side->segment, side->number)) == 0) {
        if (!asleep)
            relax(&spins);
        else if (inbox_announce_sleep(side->segment, side->number))
            inbox_sleep(side->segment, side->number, -1);
    }
    messages_handle(side, offset, &count);
    require(count == 1);
}

static void inbox_round_trips_of(struct side *side, bool asleep)
{
    for (unsigned long i = 0; i < side->count; i++) {
        if (side->number == 0) {
            message_send(side);
            message_receive(side, asleep);
        } else {
            message_receive(side, asleep);
            message_send(side);
        }
    }
}

static void inbox_round_trips(struct side *side)
{
    inbox_round_trips_of(side, false);
}

static void inbox_sleeps(struct side *side)
{
    inbox_round_trips_of(side, true);
}

static void inbox_one_way(struct side *side)
{
    unsigned long count = 0, spins = 0;

    if (side->number == 0) {
        for (unsigned long i = 0; i < side->count; i++)
            message_send(side);
        message_receive(side, false);
        return;
    }
    while (count < side->count) {
        uint64_t offset = inbox_take(side->segment, 1);

        if (offset == 0)
            relax(&spins);
        messages_handle(side, offset, &count);
    }
    message_send(side);
}

/* ---- measuring ---- */

struct figure {
    void (*run)(struct side *);
    size_t size;
    unsigned long count;
    bool one_core;
};

static int rounds = 5;
static double scale = 1.0;

static void side_prepare(struct side *side, uint32_t number, const struct segment *segment,
                         struct shared *shared, const struct figure *figure)
{
    *side = (struct side){.number = number, .segment = segment, .shared = shared};
    side->size = figure->size;
    side->region = region_create(segment, number);
    side->source = malloc(LARGEST);
    require(side->region != NULL && side->source != NULL);
    require(region_returns_init(&side->returns, segment) == 0);
    memset(side->source, (int)number + 1, LARGEST);
    pin(figure->one_core ? 0 : number);
}

static int ascending(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Both sides of a round begin together: the words and queues are as new. */
static void round_begin(struct side *side, unsigned long count)
{
    struct shared *shared = side->shared;
    unsigned long spins = 0;

    side->count = count;
    if (side->number == 0) {
        shared->there = 0;
        atomic_store(&shared->back, UINT32_MAX);
        while (atomic_load(&shared->there) != UINT32_MAX)
            relax(&spins);
        shared->there = 0;
        atomic_store(&shared->back, 0);
    } else {
        while (atomic_load(&shared->back) != UINT32_MAX)
            relax(&spins);
        atomic_store(&shared->there, UINT32_MAX);
        while (atomic_load(&shared->back) != 0)
            relax(&spins);
    }
}

/* Rounds of one side, after a shorter one that warms up. Its times go to `seconds`. */
static void side_run(struct side *side, const struct figure *figure, double *seconds)
{
    unsigned long count = (unsigned long)((double)figure->count * scale);

    count = count < 10 ? 10 : count;
    round_begin(side, count / 4 + 1);
    figure->run(side);
    for (int round = 0; round < rounds; round++) {
        double begun;

        round_begin(side, count);
        begun = now();
        figure->run(side);
        seconds[round] = (now() - begun) / (double)count;
    }
}

/* Median seconds for one of figure->count. */
static double measure(const struct figure *figure)
{
    struct segment_geometry geometry = {
        .epoch = EPOCH, .pes = 2, .local_pes = 2, .nodes = 1, .cores = 2, .region_size = 1u << 30};
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double seconds[MAX_ROUNDS];
    struct segment segment;
    cpu_set_t before;
    struct side side;
    int status;
    pid_t child;

    require(shared != MAP_FAILED && segment_create(&segment, &geometry, NULL) == 0);
    require(sched_getaffinity(0, sizeof(before), &before) == 0);
    child = fork();
    require(child >= 0);
    if (child == 0) {
        struct segment own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        require(segment_map(&own, dup(segment.fd), -1) == 0);
        side_prepare(&side, 1, &own, shared, figure);
        side_run(&side, figure, seconds);
        _exit(0);
    }
    side_prepare(&side, 0, &segment, shared, figure);
    side_run(&side, figure, seconds);
    require(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    require(sched_setaffinity(0, sizeof(before), &before) == 0);
    region_destroy(side.region);
    region_returns_free(&side.returns);
    free(side.source);
    segment_close(&segment);
    munmap(shared, sizeof(*shared));
    return median(seconds, rounds);
}

/* Median seconds of a copy of 16 MB; `fresh`: to pages that were never touched. */
static double measure_memcpy(bool fresh)
{
    uint8_t *from = malloc(LARGEST), *to = NULL;
    double seconds[MAX_ROUNDS];

    require(from != NULL);
    memset(from, 1, LARGEST);
    for (int round = -1; round < rounds; round++) {
        double begun;

        if (to == NULL || fresh) {
            to = mmap(NULL, LARGEST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            require(to != MAP_FAILED);
        }
        begun = now();
        memcpy(to, from, LARGEST);
        __asm__ volatile("" ::"r"(to) : "memory");
        if (round >= 0)
            seconds[round] = now() - begun;
        if (fresh)
            munmap(to, LARGEST);
    }
    if (!fresh)
        munmap(to, LARGEST);
    free(from);
    return median(seconds, rounds);
}

/* ---- output ---- */

static void print_figure(const char *name, double value)
{
    static const char *separator = "{";

    printf("%s\"%s\": %.6g", separator, name, value);
    fflush(stdout);
    separator = ", ";
}

struct row {
    const char *name;
    struct figure figure;
};

static void print_times(void)
{
    static const struct row rows[] = {
        {"ring_8_us", {ring_round_trips, 8, 100000, false}},
        {"ring_1k_us", {ring_round_trips, 1024, 50000, false}},
        {"copy_64k_us", {ring_round_trips, 64 << 10, 2000, false}},
        {"copy_1m_us", {ring_round_trips, 1 << 20, 200, false}},
        {"copy_16m_us", {ring_round_trips, LARGEST, 12, false}},
        {"ring_sleep_us", {ring_sleeps, 8, 3000, false}},
        {"ring_sleep_one_core_us", {ring_sleeps, 8, 3000, true}},
        {"inbox_8_us", {inbox_round_trips, 8, 100000, false}},
        {"inbox_1k_us", {inbox_round_trips, 1024, 50000, false}},
        {"inbox_64k_us", {inbox_round_trips, 64 << 10, 2000, false}},
        {"inbox_1m_us", {inbox_round_trips, 1 << 20, 200, false}},
        {"inbox_16m_us", {inbox_round_trips, LARGEST, 12, false}},
        {"inbox_sleep_us", {inbox_sleeps, 8, 3000, false}},
        {"inbox_sleep_one_core_us", {inbox_sleeps, 8, 3000, true}},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        print_figure(rows[i].name, measure(&rows[i].figure) * 1e6);
}

static void print_rates(void)
{
    static const struct figure one_way = {inbox_one_way, 8, 300000, false};

    print_figure("one_way_per_s", 1 / measure(&one_way));
    print_figure("memcpy_16m_gb_s", LARGEST / measure_memcpy(false) / 1e9);
    print_figure("memcpy_16m_fresh_gb_s", LARGEST / measure_memcpy(true) / 1e9);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = atoi(argv[1]);
    if (argc > 2)
        scale = atof(argv[2]);
    if (argc > 3 || rounds < 1 || rounds > MAX_ROUNDS || !(scale > 0 && scale <= 100)) {
        fprintf(stderr, "usage: floor [ROUNDS [SCALE]]: 1 to %d rounds, scale up to 100\n",
                MAX_ROUNDS);
        return 2;
    }
    print_times();
    print_rates();
    puts("}");
    return 0;
}
