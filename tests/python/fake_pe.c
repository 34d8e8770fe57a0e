/*
 * A PE without Python: what the daemon hears from it is chosen on the command line.
 *
 *   fake_pe WHAT [ARGUMENT]
 *
 *   exit CODE[:TEXT]  every PE starts; PE 0 ends the program, the others wait for C4P_STOP
 *   exits CODES       comma-separated: PE n ends the program with the n-th code, if there is one
 *   deaf              every PE starts; PE 0 ends the program, the others ignore C4P_STOP and SIGTERM
 *   leave CODE        every PE starts; the last one just exits
 *   idle              every PE starts and waits for C4P_STOP
 *   stray             PE 0 sends what a router refuses, then ends the program
 *   some              PE 0 starts, the others exit with 0 without starting
 *   garbage SEED      every PE starts; the last one writes over the whole segment
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/inbox.h"
#include "proto/region.h"

static struct segment segment;
static struct region *region;
static uint32_t self, slot; /* our number in the job, our place in the segment */

static uint64_t message_make(uint8_t kind, uint32_t sequence, const char *text)
{
    size_t size = strlen(text);
    uint64_t offset = region_alloc(region, C4P_ENVELOPE_SIZE + size);
    struct c4p_envelope *block = segment_block(&segment, offset);

    memset(block, 0, sizeof(*block));
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = kind;
    block->epoch = segment.geometry.epoch;
    block->source = self;
    block->target = C4P_ROUTER;
    block->sequence = sequence;
    block->body_size = size;
    memcpy((char *)block + C4P_ENVELOPE_SIZE, text, size);
    return offset;
}

static void message_send(uint8_t kind, uint32_t sequence, const char *text)
{
    inbox_push(&segment, segment_router_slot(&segment), message_make(kind, sequence, text));
}

static void stop_wait(void)
{
    for (;;) {
        uint64_t offset = inbox_take(&segment, slot);

        if (offset != 0 && segment_block(&segment, offset)->kind == C4P_STOP)
            _exit(0);
        if (offset == 0 && inbox_announce_sleep(&segment, slot))
            inbox_sleep(&segment, slot, -1);
    }
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
static uint64_t dice;

static uint64_t dice_throw(void)
{
    dice ^= dice >> 12;
    dice ^= dice << 25;
    dice ^= dice >> 27;
    return dice * 0x2545f4914f6cdd1du;
}

/* Random words, of which some are offsets that look right, from `start` on. */
static void scribble(uint64_t start, uint64_t size)
{
    const struct segment_geometry *g = &segment.geometry;

    for (uint64_t at = start; at < start + size; at += 8) {
        uint64_t word = dice_throw();

        if (word % 8 == 0)
            word = (g->regions + word % (g->size - g->regions)) / CACHE_LINE * CACHE_LINE;
        memcpy(segment.base + at, &word, sizeof(word));
    }
}

/* Blocks that are nearly right, linked in whatever way, in the router's queue. */
static void forge(void)
{
    const struct segment_geometry *g = &segment.geometry;
    uint64_t first = g->regions + slot * g->region_size;
    unsigned blocks = 1 + dice_throw() % 64;

    for (unsigned i = 0; i < blocks; i++) {
        struct c4p_envelope *block = segment_block(&segment, first + i * 128);

        memset(block, 0, sizeof(*block));
        block->version = (uint8_t)(dice_throw() % 2 ? C4P_ENVELOPE_VERSION : dice_throw());
        block->kind = (uint8_t)(dice_throw() % (C4P_KINDS + 1));
        block->epoch = dice_throw() % 8 ? g->epoch : 0;
        block->source = dice_throw() % 4 ? self : (uint32_t)dice_throw();
        block->body_size = dice_throw() % 2 ? dice_throw() % 64 : dice_throw();
        block->body = dice_throw() % 4 ? 0 : dice_throw();
        block->sequence = (uint32_t)dice_throw();
        block->next = dice_throw() % 16 ? first + dice_throw() % blocks * 128 : dice_throw();
    }
    atomic_store(&segment_endpoint(&segment, segment_router_slot(&segment))->inbox, first);
}

static _Noreturn void garbage(uint64_t seed)
{
    bool ring, stay, again;

    dice = (seed + 1) * 0x9e3779b97f4a7c15u;
    ring = dice_throw() % 2;
    stay = dice_throw() % 2;
    again = dice_throw() % 4 == 0;
    do {
        switch (dice_throw() % 3) {
        case 0:
            scribble(0, segment.geometry.size);
            break;
        case 1:
            scribble(0, segment.geometry.regions);
            break;
        default:
            forge();
            break;
        }
        if (ring)
            inbox_wake(&segment, segment_router_slot(&segment));
    } while (again);
    if (stay)
        for (;;)
            pause();
    _exit((int)(dice_throw() % 2));
}

static void exit_send(const char *argument)
{
    const char *text = strchr(argument, ':');

    message_send(C4P_EXIT, (uint32_t)atoi(argument), text ? text + 1 : "");
    _exit(0);
}

static void exits_send(const char *codes)
{
    for (uint32_t i = 0; i < self && codes != NULL; i++)
        codes = strchr(codes, ',') ? strchr(codes, ',') + 1 : NULL;
    if (codes != NULL)
        message_send(C4P_EXIT, (uint32_t)atoi(codes), "");
    _exit(0);
}

static void stray_send(void)
{
    uint64_t offset = message_make(C4P_EXIT, 9, "from nobody");

    segment_block(&segment, offset)->source = self + 1;
    inbox_push(&segment, segment_router_slot(&segment), offset);
    message_send(C4P_CALL, 0, "");
    message_send(C4P_KINDS, 0, "");
    offset = message_make(C4P_EXIT, 9, "of another job");
    segment_block(&segment, offset)->epoch++;
    inbox_push(&segment, segment_router_slot(&segment), offset);
    exit_send("4");
}

static void attach(void)
{
    if (segment_map(&segment, atoi(getenv("C4P_SEGMENT")), atoi(getenv("C4P_WAKE"))) != 0) {
        perror("fake_pe: segment");
        exit(2);
    }
    self = (uint32_t)atoi(getenv("C4P_PE"));
    slot = segment_slot(&segment, self);
    region = region_create(&segment, slot);
    atomic_store(&segment_endpoint(&segment, slot)->status, ENDPOINT_STARTED);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *argument = argc > 2 ? argv[2] : "0";
    bool last;

    attach();
    last = self == segment.geometry.pes - 1;
    if (strcmp(what, "some") == 0 && self != 0)
        return 0;
    message_send(C4P_STARTED, 0, "");
    if (strcmp(what, "exits") == 0)
        exits_send(argument);
    if (strcmp(what, "exit") == 0 && self == 0)
        exit_send(argument);
    if (strcmp(what, "stray") == 0 && self == 0)
        stray_send();
    if (strcmp(what, "deaf") == 0) {
        if (self == 0)
            exit_send("0");
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    if (strcmp(what, "leave") == 0 && last)
        _exit(atoi(argument));
    if (strcmp(what, "garbage") == 0 && last)
        garbage(strtoull(argument, NULL, 10));
    stop_wait();
}
