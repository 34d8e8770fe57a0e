/*
 * What the routers of a job do together, in the simulator: multicasts, reductions and quiescence over
 * 3 to 40 nodes (trees_world.h), with delays of any length between any two.
 *
 * A program goes in rounds. PEs handle messages and send others, to one or to many, small and large,
 * and contribute to reductions, until all that there was to send is sent; then quiescence has to be
 * told, once and not before, and the next round begins. What must be true: each message arrives once
 * at each PE that it is for, those of one sender in the order of sending; every reduction has the
 * right result, everywhere, once; no memory stays taken.
 *
 *   sim_trees                       the short form
 *   sim_trees --seeds 200           ... with more seeds
 *   sim_trees --seed N              one of them again, with its figures
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/tail.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/trees_world.h"

#define ROUNDS 4
#define ROUND_REDUCTIONS 6 /* at most */
#define REDUCTIONS_MAX (ROUNDS * ROUND_REDUCTIONS)
#define SECRET_COLLECTION 77
#define RESULT_TO_ALL(sequence) ((sequence) % 2 == 0)
#define LARGEST 60000

struct player {
    uint32_t serial;        /* of what it sends */
    uint32_t seen[MAX_PES]; /* by sender */
    uint32_t contributions, reduced;
    uint32_t budget; /* messages that it may still send in this round */
};

struct program {
    struct trees *trees;
    struct player player[MAX_PES];
    uint64_t expected, handled; /* messages for PEs */
    uint64_t multicasts;
    uint32_t round, quiet;          /* rounds begun, and ended */
    bool ended;                     /* PE 0 was told that nothing will come any more */
    uint32_t due;                   /* contributions of each PE, until now */
    uint32_t parts[REDUCTIONS_MAX]; /* contributions that are in routers' hands, by sequence */
};

/* ---- what PEs send ---- */

static void count(struct node *node, uint32_t pe, uint32_t sent, uint32_t processed)
{
    struct segment_endpoint *endpoint = segment_endpoint(&node->segment, pe - node->first);

    atomic_fetch_add(&endpoint->sent, sent);
    atomic_fetch_add(&endpoint->processed, processed);
}

static uint64_t pe_block(struct node *node, uint32_t pe, const struct c4p_envelope *like)
{
    uint64_t offset = trees_block(node, node->pe[pe - node->first].region, like);

    if (offset == 0)
        trees_fail(node->trees, "PE %u has no memory for what it sends", pe);
    return offset;
}

/* The body: who sent it, which of its messages it is, and a pattern. */
static void body_fill(struct node *node, uint64_t offset, uint32_t pe, uint32_t serial)
{
    uint64_t size = segment_block(&node->segment, offset)->body_size;
    uint8_t *body = node->segment.base + offset + C4P_ENVELOPE_SIZE;

    memset(body, (int)(serial + pe), size);
    memcpy(body, &pe, sizeof(pe));
    memcpy(body + sizeof(pe), &serial, sizeof(serial));
}

static uint64_t message_size(struct trees *trees)
{
    static const uint32_t most[] = {40, 300, 5000, LARGEST};

    return 8 + trees_chance(trees, most[trees_chance(trees, 4)]);
}

/* To PEs first .. first + count - 1: those of this node at once, the others through the router. */
static void pe_send(struct program *program, struct node *node, uint32_t pe, uint32_t first,
                    uint32_t receivers)
{
    struct trees *trees = node->trees;
    struct player *its = &program->player[pe];
    struct c4p_envelope like = {.kind = C4P_CALL, .source = pe, .body_size = message_size(trees)};
    uint32_t serial = its->serial++, elsewhere = 0, target = 0;
    uint64_t offset;

    count(node, pe, receivers, 0);
    program->expected += receivers;
    program->multicasts += receivers > 1;
    for (uint32_t i = first; i < first + receivers; i++) {
        if (i - node->first >= node->pes) {
            elsewhere++;
            target = i;
            continue;
        }
        like.target = i;
        offset = pe_block(node, pe, &like);
        body_fill(node, offset, pe, serial);
        trees_deliver(node, i, offset);
    }
    if (elsewhere == 0)
        return;
    like.target = receivers > 1 ? C4P_ROUTER | node->number : target;
    if (receivers > 1) {
        like.flags = C4P_MULTICAST;
        like.index[0] = (int32_t)first;
        like.index[1] = (int32_t)receivers;
    }
    offset = pe_block(node, pe, &like);
    body_fill(node, offset, pe, serial);
    trees_offer(node, offset);
}

/* The sum of 1 + pe over all PEs, plus the sequence for each. */
static int64_t sum_due(const struct trees *trees, uint32_t sequence)
{
    return (int64_t)trees->pes * (trees->pes + 1) / 2 + (int64_t)trees->pes * sequence;
}

/* The last PE of a node to contribute sends the node's part, as meeting.h does. */
static void pe_contribute(struct program *program, struct node *node, uint32_t pe)
{
    struct trees *trees = node->trees;
    uint32_t sequence = program->player[pe].contributions++;
    struct c4p_tail tail = {.total = trees->pes,
                            .count = node->pes,
                            .origin = node->first,
                            .source = pe,
                            .placement = PLACE_EACH,
                            .operation = OP_SUM,
                            .target = RESULT_TO_ALL(sequence) ? TARGET_ALL : TARGET_FUTURE,
                            .owner = sequence % trees->pes,
                            .id = sequence};
    struct c4p_envelope like = {.kind = C4P_PARTIAL,
                                .source = pe,
                                .target = C4P_ROUTER | node->number,
                                .collection = SECRET_COLLECTION,
                                .sequence = sequence,
                                .args = 1,
                                .body_size = 9 + C4P_TAIL_SIZE};
    int64_t value = 0;
    uint64_t offset;
    uint8_t *body;

    for (uint32_t i = 0; i < node->pes; i++) {
        if (program->player[node->first + i].contributions <= sequence)
            return;
        value += 1 + node->first + i + sequence;
    }
    if (RESULT_TO_ALL(sequence))
        like.flags = C4P_RETURN;
    count(node, pe, 1, 0);
    program->parts[sequence] += node->pes;
    if (program->parts[sequence] == trees->pes)
        program->expected += RESULT_TO_ALL(sequence) ? trees->pes : 1;
    offset = pe_block(node, pe, &like);
    body = node->segment.base + offset + C4P_ENVELOPE_SIZE;
    body[0] = 0x06;
    memcpy(body + 1, &value, sizeof(value));
    tail_write(body, like.body_size, &tail);
    trees_offer(node, offset);
}

/* ---- what must be true ---- */

static void message_check(struct program *program, struct node *node, uint32_t pe, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    const uint8_t *body = trees_body(node, offset);
    struct player *its = &program->player[pe];
    uint32_t source, serial;

    memcpy(&source, body, sizeof(source));
    memcpy(&serial, body + sizeof(source), sizeof(serial));
    if (source != block->source || block->target != pe || block->flags != 0)
        trees_fail(node->trees, "PE %u: a message is addressed wrongly", pe);
    if (serial < its->seen[source])
        trees_fail(node->trees, "PE %u: message %u of PE %u comes after %u", pe, serial, source,
                   its->seen[source] - 1);
    its->seen[source] = serial + 1;
    for (uint64_t i = 8; i < block->body_size; i++)
        if (body[i] != (uint8_t)(serial + source))
            trees_fail(node->trees, "PE %u: the body of a message is another one", pe);
}

static void result_check(struct program *program, struct node *node, uint32_t pe, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    const uint8_t *body = trees_body(node, offset);
    bool all = block->kind == C4P_REDUCED;
    uint32_t sequence = all ? block->sequence : (uint32_t)block->future;
    struct player *its = &program->player[pe];
    int64_t value = INT64_MIN;

    if (block->body_size == 9 && body[0] == 0x06)
        memcpy(&value, body + 1, sizeof(value));
    if (block->body_size == 2 && body[0] == 0x04)
        value = (int8_t)body[1];
    if (block->body_size == 5 && body[0] == 0x05)
        value = (int32_t)(body[1] | body[2] << 8 | body[3] << 16 | (uint32_t)body[4] << 24);
    if (value != sum_due(node->trees, sequence))
        trees_fail(node->trees, "PE %u: reduction %u is %lld, not %lld", pe, sequence,
                   (long long)value, (long long)sum_due(node->trees, sequence));
    if (all && sequence != its->reduced)
        trees_fail(node->trees, "PE %u: allreduce %u comes, and %u is next", pe, sequence,
                   its->reduced);
    if (!all && sequence % node->trees->pes != pe)
        trees_fail(node->trees, "PE %u: the result of reduction %u is not for it", pe, sequence);
    its->reduced = all ? sequence + 2 : its->reduced;
}

/* ---- what PEs do ---- */

static void round_begin(struct program *program)
{
    struct trees *trees = program->trees;

    program->round++;
    program->due += (uint32_t)trees_chance(trees, ROUND_REDUCTIONS + 1);
    for (uint32_t pe = 0; pe < trees->pes; pe++)
        program->player[pe].budget = (uint32_t)trees_chance(trees, 12);
}

static void spread_out(struct program *program, struct node *node, uint32_t pe)
{
    struct trees *trees = node->trees;
    uint32_t first = (uint32_t)trees_chance(trees, trees->pes);

    switch (trees_chance(trees, 4)) {
    case 0:
        pe_send(program, node, pe, first, 1);
        break;
    case 1:
        pe_send(program, node, pe, first, 1 + (uint32_t)trees_chance(trees, trees->pes - first));
        break;
    case 2:
        pe_send(program, node, pe, 0, trees->pes);
        break;
    default:
        if (program->player[pe].contributions < program->due)
            pe_contribute(program, node, pe);
    }
}

/* Quiescence is told to the first PE: was it? */
static void quiescence_take(struct program *program, struct node *node, uint32_t pe, bool end)
{
    struct trees *trees = node->trees;

    if (program->handled != program->expected)
        trees_fail(trees, "quiescence in round %u, and %llu of %llu messages are handled",
                   program->round, (unsigned long long)program->handled,
                   (unsigned long long)program->expected);
    if (end) {
        if (program->quiet < ROUNDS || program->ended)
            trees_fail(trees, "the program is over in round %u, while somebody waits",
                       program->round);
        program->ended = true;
        return;
    }
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->quiescence_wanted, 0);
    program->quiet++;
    trees->over = program->quiet == ROUNDS;
    for (uint32_t other = 0; other < trees->pes; other++)
        if (program->player[other].contributions != program->due)
            trees_fail(trees, "quiescence in round %u, and PE %u was never asked", program->round,
                       other);
    if (program->quiet < ROUNDS) {
        round_begin(program);
        pe_send(program, node, pe, 0, trees->pes);
        atomic_store(&segment_endpoint(&node->segment, pe - node->first)->quiescence_wanted, 1);
    }
}

static void pe_handle(void *context, struct node *node, uint32_t pe, uint64_t offset)
{
    struct program *program = context;
    struct trees *trees = node->trees;
    struct player *its = &program->player[pe];
    uint8_t kind = segment_block(&node->segment, offset)->kind;

    if (kind == C4P_QUIESCENT) {
        quiescence_take(program, node, pe, segment_block(&node->segment, offset)->sequence != 0);
        trees_release(node, offset);
        return;
    }
    if (kind == C4P_CALL)
        message_check(program, node, pe, offset);
    else
        result_check(program, node, pe, offset);
    trees_release(node, offset);
    program->handled++;
    while (its->budget > 0 && trees_chance(trees, 3) > 0) {
        its->budget--;
        spread_out(program, node, pe);
    }
    count(node, pe, 0, 1);
}

/* Whoever has nothing left to do contributes to all that there is to contribute to. */
static void pe_rest(void *context, struct node *node, uint32_t pe)
{
    struct program *program = context;

    while (program->player[pe].contributions < program->due)
        pe_contribute(program, node, pe);
}

/* ---- a run ---- */

static void program_run(struct program *program, uint64_t seed)
{
    struct trees *trees = program->trees;
    struct node *home = trees_node_of(trees, 0);

    if (seed % 2 == 0)
        trees_take_memory(trees);
    round_begin(program);
    atomic_store(&segment_endpoint(&home->segment, 0)->quiescence_wanted, 1);
    pe_send(program, home, 0, 0, trees->pes);
    for (int64_t time = SIM_SECOND; program->quiet < ROUNDS; time += SIM_SECOND) {
        if (time > 600 * SIM_SECOND)
            trees_fail(trees, "round %u never ends: %llu of %llu messages are handled",
                       program->round, (unsigned long long)program->handled,
                       (unsigned long long)program->expected);
        sim_run_until(trees->sim, time);
    }
    sim_run_until(trees->sim, sim_now(trees->sim) + 10 * SIM_SECOND);
    if (program->quiet != ROUNDS || program->handled != program->expected)
        trees_fail(trees, "quiescence was told %u times", program->quiet);
    if (!program->ended)
        trees_fail(trees, "nobody was told that the program is over");
    trees_check_memory(trees);
}

static void hold_over_any_number_of_nodes(uint64_t seed, char *failure)
{
    struct program *program = calloc(1, sizeof(*program));
    const struct trees_program pes = {pe_handle, pe_rest, program};
    struct trees *trees;
    jmp_buf out;

    if (program == NULL)
        abort();
    trees = program->trees = trees_create(seed, &pes);
    trees->out = &out;
    if (setjmp(out) == 0)
        program_run(program, seed);
    snprintf(failure, SCENARIO_FAILURE_SIZE, "%s", trees->failure);
    if (scenarios_verbose)
        printf("%u nodes, %u PEs, %llu messages, %llu times to many, %llu times held up, %u "
               "reductions, %.1f s\n",
               trees->nodes, trees->pes, (unsigned long long)program->handled,
               (unsigned long long)program->multicasts, (unsigned long long)trees->held_up,
               program->due, (double)sim_now(trees->sim) / (double)SIM_SECOND);
    trees_destroy(trees);
    free(program);
}

int main(int argc, char **argv)
{
    static const struct scenario scenario = {
        "order_reductions_and_quiescence_hold_over_any_number_of_nodes",
        hold_over_any_number_of_nodes, 60};

    return scenarios_main("sim_trees", &scenario, 1, argc, argv);
}
