#define _GNU_SOURCE
#include "proto/inbox.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The futex is the low half of the word: on a little-endian machine, its first four bytes. */
static uint32_t *inbox_futex(const struct segment *segment, uint32_t slot)
{
    return (uint32_t *)(void *)&segment_endpoint(segment, slot)->inbox;
}

static void sleeper_wake(const struct segment *segment, uint32_t slot)
{
    uint64_t one = 1;

    if (slot == segment_router_slot(segment) ||
        atomic_load_explicit(&segment_endpoint(segment, slot)->remote, memory_order_relaxed) != 0) {
        if (segment->router_wake >= 0)
            while (write(segment->router_wake, &one, sizeof(one)) < 0 && errno == EINTR)
                continue;
        return;
    }
    /* Not FUTEX_PRIVATE: the sleeper is another process. */
    syscall(SYS_futex, inbox_futex(segment, slot), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void inbox_wake(const struct segment *segment, uint32_t slot)
{
    /* Who has announced sleep and is not in the kernel yet is reached by the word, not by the wake. */
    inbox_announce_awake(segment, slot);
    sleeper_wake(segment, slot);
}

void inbox_push(const struct segment *segment, uint32_t slot, uint64_t offset)
{
    struct segment_endpoint *endpoint = segment_endpoint(segment, slot);
    struct c4p_envelope *block = segment_block(segment, offset);
    uint64_t newest = atomic_load_explicit(&endpoint->inbox, memory_order_relaxed);

    do
        block->next = newest == INBOX_ASLEEP ? 0 : newest;
    while (!atomic_compare_exchange_weak_explicit(&endpoint->inbox, &newest, offset,
                                                  memory_order_seq_cst, memory_order_relaxed));
    if (newest == INBOX_ASLEEP)
        sleeper_wake(segment, slot);
}

uint64_t inbox_take(const struct segment *segment, uint32_t slot)
{
    struct segment_endpoint *endpoint = segment_endpoint(segment, slot);
    uint64_t newest, offset, oldest = 0;
    uint32_t length = 0;

    errno = 0;
    newest = atomic_load_explicit(&endpoint->inbox, memory_order_relaxed);
    if (newest <= INBOX_ASLEEP)
        return 0;
    /* Fetched while the exchange goes on. It may be any number: nothing but a hint is made of it. */
    __builtin_prefetch((const void *)((uintptr_t)segment->base + newest));
    __builtin_prefetch((const void *)((uintptr_t)segment->base + newest + CACHE_LINE));
    newest = atomic_exchange_explicit(&endpoint->inbox, 0, memory_order_acquire);
    if (newest <= INBOX_ASLEEP)
        return 0;
    offset = newest;
    while (offset != 0) {
        struct c4p_envelope *block;
        uint64_t next;

        if (!segment_offset_valid(segment, offset) || ++length > INBOX_MAX_CHAIN) {
            errno = EBADMSG;
            return 0;
        }
        block = segment_block(segment, offset);
        next = block->next;
        block->next = oldest;
        oldest = offset;
        offset = next;
    }
    /* A chain that runs into itself is walked back, over the links turned so far, to where it began. */
    if (oldest == newest && length > 1) {
        errno = EBADMSG;
        return 0;
    }
    return oldest;
}

bool inbox_announce_sleep(const struct segment *segment, uint32_t slot)
{
    uint64_t empty = 0;

    return atomic_compare_exchange_strong_explicit(&segment_endpoint(segment, slot)->inbox, &empty,
                                                   INBOX_ASLEEP, memory_order_seq_cst,
                                                   memory_order_relaxed) ||
           empty == INBOX_ASLEEP;
}

void inbox_announce_awake(const struct segment *segment, uint32_t slot)
{
    uint64_t asleep = INBOX_ASLEEP;

    atomic_compare_exchange_strong_explicit(&segment_endpoint(segment, slot)->inbox, &asleep, 0,
                                            memory_order_seq_cst, memory_order_relaxed);
}

void inbox_watch(const struct segment *segment, uint32_t slot)
{
    syscall(SYS_futex, inbox_futex(segment, slot), FUTEX_WAIT, INBOX_ASLEEP, NULL, NULL, 0);
}

int inbox_sleep(const struct segment *segment, uint32_t slot, int64_t timeout_ns)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    long rc = syscall(SYS_futex, inbox_futex(segment, slot), FUTEX_WAIT, INBOX_ASLEEP,
                      timeout_ns < 0 ? NULL : &timeout, NULL, 0);
    int error = rc < 0 ? errno : 0;

    inbox_announce_awake(segment, slot);
    return error == EINTR ? EINTR : 0;
}
