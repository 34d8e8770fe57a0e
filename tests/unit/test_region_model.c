/*
 * The allocator against a model: any history of allocations, frees and returns, with hostile
 * return lists in between. The oracle knows who uses which 64 bytes, and what was written there.
 */
#include "tests/unit/region_fixture.h"

#define SPANS (REGION / REGION_SPAN)

enum stage { IN_USE, GATHERED, PUSHED }; /* the latter two: on its way back to the owner */

struct live {
    uint64_t offset;
    size_t size;
    uint64_t pattern;
    enum stage stage;
};

struct model {
    struct fixture *f;
    struct dice dice;
    uint64_t used;
    unsigned count;
    struct live live[4096];
    uint8_t taken[GRANULES];
};

static void model_mark(struct model *model, const struct live *live, uint8_t value)
{
    uint64_t first = (live->offset - region_start(model->f)) / 64;

    require(live->offset >= region_start(model->f) && live->offset % 64 == 0);
    require(first + live->size / 64 <= GRANULES);
    for (uint64_t i = 0; i < live->size / 64; i++) {
        require(model->taken[first + i] != value);
        model->taken[first + i] = value;
    }
    model->used += value ? live->size : -live->size;
}

/* First and last word of a block; the link in front belongs to the return list. */
static void model_words(const struct model *model, const struct live *live, uint64_t **words)
{
    words[0] = (uint64_t *)(void *)(model->f->segment.base + live->offset + 8);
    words[1] = (uint64_t *)(void *)(model->f->segment.base + live->offset + live->size - 8);
}

static void model_add(struct model *model, uint64_t offset)
{
    struct live *live = &model->live[model->count++];
    uint64_t *words[2];

    live->offset = offset;
    live->size = region_block_size(model->f->region, offset);
    live->pattern = dice_throw(&model->dice);
    live->stage = IN_USE;
    model_mark(model, live, 1);
    model_words(model, live, words);
    *words[0] = live->pattern;
    *words[1] = ~live->pattern;
}

static void model_check_contents(const struct model *model, const struct live *live)
{
    uint64_t *words[2];

    model_words(model, live, words);
    require(*words[0] == live->pattern && *words[1] == ~live->pattern);
    require(region_block_size(model->f->region, live->offset) == live->size);
}

static void model_remove(struct model *model, unsigned i)
{
    model_mark(model, &model->live[i], 0);
    model->live[i] = model->live[--model->count];
}

/* Who was pushed onto the list, and was taken in, is seen by their being empty. */
static void model_follow(struct model *model)
{
    struct fixture *f = model->f;

    for (unsigned i = model->count; i-- > 0;) {
        if (model->live[i].stage == GATHERED && f->returns.pending == 0)
            model->live[i].stage = PUSHED;
        if (model->live[i].stage == PUSHED && atomic_load(returns_word(f)) == 0)
            model_remove(model, i);
    }
    require(region_used(f->region) == model->used);
}

/* Is there a run of so many spans without a byte in use? */
static bool model_has_room(const struct model *model, size_t spans)
{
    size_t run = 0;

    for (size_t i = 0; i < SPANS && run < spans; i++)
        run = memchr(model->taken + i * (REGION_SPAN / 64), 1, REGION_SPAN / 64) ? 0 : run + 1;
    return run == spans;
}

static size_t model_size(struct model *model)
{
    switch (dice_below(&model->dice, 10)) {
    case 0:
        return REGION_MAX_SMALL + 1 + dice_below(&model->dice, REGION / 3);
    case 1:
    case 2:
        return REGION_MAX_SMALL + 1 + dice_below(&model->dice, 4 * REGION_SPAN);
    case 3:
    case 4:
        return C4P_ENVELOPE_SIZE + dice_below(&model->dice, REGION_MAX_SMALL - C4P_ENVELOPE_SIZE);
    default:
        return C4P_ENVELOPE_SIZE + dice_below(&model->dice, 500);
    }
}

static void model_alloc(struct model *model)
{
    size_t size = model_size(model);
    uint64_t offset;

    if (model->count == sizeof(model->live) / sizeof(*model->live))
        return;
    offset = region_alloc(model->f->region, size);
    if (offset == 0)
        require(errno == ENOMEM);
    else
        require(region_block_size(model->f->region, offset) >= size);
    /* In this order: what comes back in the same call may be what is given out. */
    model->used += offset ? region_block_size(model->f->region, offset) : 0;
    model_follow(model);
    model->used -= offset ? region_block_size(model->f->region, offset) : 0;
    if (offset != 0)
        model_add(model, offset);
    else
        require(!model_has_room(model, (size + REGION_SPAN - 1) / REGION_SPAN));
}

/* A block in use; NULL if the one that was looked at is none. */
static struct live *model_pick(struct model *model)
{
    struct live *live;

    if (model->count == 0)
        return NULL;
    live = &model->live[dice_below(&model->dice, model->count)];
    if (live->stage != IN_USE)
        return NULL;
    model_check_contents(model, live);
    return live;
}

static void model_free(struct model *model)
{
    struct live *live = model_pick(model);

    if (live == NULL)
        return;
    region_free(model->f->region, live->offset);
    model_remove(model, (unsigned)(live - model->live));
}

static void model_return(struct model *model)
{
    struct live *live = model_pick(model);

    if (live == NULL)
        return;
    live->stage = GATHERED;
    region_returns_add(&model->f->returns, live->offset, dice_below(&model->dice, 20) == 0);
}

/* An offset that is not a block in use. */
static uint64_t model_wrong_offset(struct model *model)
{
    uint64_t offset = dice_throw(&model->dice);

    switch (dice_below(&model->dice, 4)) {
    case 0:
        break;
    case 1:
        offset %= model->f->segment.geometry.size;
        break;
    case 2:
        offset = offset % model->f->segment.geometry.size / 64 * 64;
        break;
    default:
        offset = region_start(model->f) + offset % REGION / 64 * 64;
    }
    return offset == 0 || region_block_size(model->f->region, offset) != 0 ? 1 : offset;
}

/* Make a list of these blocks, by links or with the first one carrying the others. */
static void model_list(struct model *model, const uint64_t *chain, unsigned length, uint64_t wrong)
{
    struct fixture *f = model->f;
    bool carry = dice_below(&model->dice, 2) == 0;

    return_raw(f, length > 0 ? chain[0] : wrong);
    for (unsigned i = 0; i < length; i++)
        returned_raw(f, chain[i], i + 1 < length ? chain[i + 1] : wrong);
    if (length > 0 && carry) {
        struct region_returned *first = returned_raw(f, chain[0], dice_throw(&model->dice));

        for (unsigned i = 1; i < length; i++)
            first->granules[i - 1] = granule_of(f, chain[i]);
        first->granules[length - 1] = granule_of(f, wrong);
        first->count = length;
    }
}

/* A list that begins with some blocks in use and ends in a wrong place, or in itself. */
static void model_attack(struct model *model)
{
    struct fixture *f = model->f;
    uint64_t chain[4], wrong = model_wrong_offset(model);
    unsigned length = 0;

    region_returns_flush(&f->returns);
    require(region_reclaim(f->region) == 0);
    model_follow(model);
    for (unsigned i = 0; i < 4; i++) {
        struct live *live = model_pick(model);

        if (live == NULL)
            continue;
        live->stage = PUSHED;
        chain[length++] = live->offset;
    }
    if (length > 0 && dice_below(&model->dice, 2) == 0)
        wrong = chain[dice_below(&model->dice, length)];
    /* A place that is carried is one of 64 bytes in 4 GiB: it must be wrong as that, too. */
    if (region_block_size(f->region, region_start(f) + granule_of(f, wrong) * 64ull) != 0 &&
        wrong != region_start(f) + granule_of(f, wrong) * 64ull)
        wrong = 1;
    model_list(model, chain, length, wrong);
    require(region_reclaim(f->region) == 1);
}

static void model_step(struct model *model)
{
    switch (dice_below(&model->dice, 12)) {
    case 0:
        region_returns_flush(&model->f->returns);
        break;
    case 1:
        require(region_reclaim(model->f->region) == 0);
        break;
    case 2:
        if (dice_below(&model->dice, 10) == 0)
            model_attack(model);
        break;
    case 3:
        model_free(model);
        break;
    case 4:
    case 5:
    case 6:
        model_return(model);
        break;
    default:
        model_alloc(model);
        return;
    }
    model_follow(model);
}

static void any_history_of_calls_and_attacks_agrees_with_a_model(void **state)
{
    struct model *model = calloc(1, sizeof(*model));
    uint64_t first = first_seed();

    model->f = *state;
    for (uint64_t seed = first; seed < first + stress(20); seed++) {
        seed_in_use = seed;
        model->dice = dice_seeded(seed);
        for (unsigned i = 0; i < 4000; i++)
            model_step(model);
        region_returns_flush(&model->f->returns);
        region_reclaim(model->f->region);
        model_follow(model);
        while (model->count > 0)
            model_free(model);
        assert_all_free_and_whole(model->f->region);
    }
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        region_test(any_history_of_calls_and_attacks_agrees_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
