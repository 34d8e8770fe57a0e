#include "tests/unit/unit.h"

#include "daemon/jobs/reserve.h"

/* What the world has: one node. */
static struct {
    uint32_t slots, used;
} node;

static uint32_t node_free(void)
{
    return node.used < node.slots ? node.slots - node.used : 0;
}

static enum queue_room on_room(void *context, uint64_t id, uint32_t pes,
                               char reason[QUEUE_REASON_SIZE])
{
    const struct reservation_request request = {.job = id, .pes = pes};
    const struct reservation_sum sum = {1, node.slots, node_free(), node.slots, node_free()};

    assert_ptr_equal(context, &node);
    return reservation_room(&request, &sum, true, reason);
}

static const struct queue_world world = {on_room, &node};

static struct queue *queue_of(uint32_t slots)
{
    node.slots = slots;
    node.used = 0;
    return queue_create(&world);
}

/* The next one starts, and has its slots. */
static uint64_t start_next(struct queue *queue, uint32_t *pes)
{
    uint64_t id = queue_turn(queue, 0, pes);

    if (id == 0)
        return 0;
    *pes = *pes > 0 ? *pes : node_free();
    node.used += *pes;
    require(queue_remove(queue, id));
    return id;
}

static void slots_release(struct queue *queue, uint32_t pes)
{
    node.used -= pes;
    queue_look(queue);
}

static void slots_resize(struct queue *queue, uint32_t slots)
{
    node.slots = slots;
    queue_look(queue);
}

static void assert_next(struct queue *queue, uint64_t id, uint32_t pes)
{
    uint32_t got = 0;

    assert_int_equal(start_next(queue, &got), id);
    if (id != 0)
        assert_int_equal(got, pes);
}

static void assert_reason(const struct queue *queue, uint64_t id, const char *expected)
{
    char reason[QUEUE_REASON_SIZE];

    queue_reason(queue, id, reason);
    assert_string_equal(reason, expected);
}

static void jobs_start_in_the_order_of_submission_whatever_the_order_of_their_ids(void **state)
{
    struct queue *queue = queue_of(2);

    (void)state;
    assert_int_equal(queue_add(queue, 900, 1, 1, 0), 0);
    assert_int_equal(queue_add(queue, 5, 2, 1, 0), 0);
    assert_int_equal(queue_add(queue, 70, 3, 1, 0), 0);
    assert_next(queue, 900, 1);
    assert_next(queue, 5, 1);
    assert_next(queue, 0, 0);
    assert_int_equal(node.used, 2);
    slots_release(queue, 1);
    assert_next(queue, 70, 1);
    assert_int_equal(queue_length(queue), 0);
    queue_destroy(queue);
}

static void a_higher_priority_goes_first(void **state)
{
    struct queue *queue = queue_of(1);

    (void)state;
    assert_int_equal(queue_add(queue, 1, 1, 1, -5), 0);
    assert_int_equal(queue_add(queue, 2, 2, 1, 0), 0);
    assert_int_equal(queue_add(queue, 3, 3, 1, 7), 0);
    assert_int_equal(queue_add(queue, 4, 4, 1, 7), 0);
    for (uint64_t i = 0; i < 4; i++) {
        assert_next(queue, (const uint64_t[]){3, 4, 2, 1}[i], 1);
        slots_release(queue, 1);
    }
    queue_destroy(queue);
}

static void nobody_overtakes_a_job_that_waits_for_room(void **state)
{
    struct queue *queue = queue_of(4);

    (void)state;
    queue_add(queue, 1, 1, 3, 0);
    assert_next(queue, 1, 3);
    queue_add(queue, 2, 2, 2, 0);
    queue_add(queue, 3, 3, 1, 0);
    assert_next(queue, 0, 0);
    slots_release(queue, 3);
    assert_next(queue, 2, 2);
    assert_next(queue, 3, 1);
    queue_destroy(queue);
}

static void a_job_larger_than_the_node_holds_nobody_up(void **state)
{
    struct queue *queue = queue_of(2);

    (void)state;
    queue_add(queue, 1, 1, 3, 100);
    queue_add(queue, 2, 2, 2, 0);
    assert_reason(queue, 1, "waits for 3 PEs: this node has only 2");
    assert_reason(queue, 2, "is about to start");
    assert_next(queue, 2, 2);
    assert_next(queue, 0, 0);
    slots_release(queue, 2);
    slots_resize(queue, 3);
    assert_next(queue, 1, 3);
    queue_destroy(queue);
}

static void a_job_of_any_number_takes_all_that_are_free_when_its_turn_comes(void **state)
{
    struct queue *queue = queue_of(4);

    (void)state;
    queue_add(queue, 1, 1, 1, 0);
    queue_add(queue, 2, 2, 0, 0);
    queue_add(queue, 3, 3, 0, 0);
    assert_next(queue, 1, 1);
    assert_next(queue, 2, 3);
    assert_next(queue, 0, 0);
    assert_reason(queue, 3, "waits for 1 PE: none of 4 is free");
    slots_release(queue, 3);
    assert_next(queue, 3, 3);
    queue_destroy(queue);
}

static void a_job_waits_once(void **state)
{
    struct queue *queue = queue_of(1);

    (void)state;
    assert_int_equal(queue_add(queue, 1, 1, 1, 0), 0);
    errno = 0;
    assert_int_equal(queue_add(queue, 1, 2, 1, 9), -1);
    assert_int_equal(errno, EEXIST);
    assert_true(queue_remove(queue, 1));
    assert_false(queue_remove(queue, 1));
    assert_int_equal(queue_length(queue), 0);
    assert_reason(queue, 1, "");
    queue_destroy(queue);
}

static void nothing_starts_while_it_is_stopped(void **state)
{
    struct queue *queue = queue_of(1);

    (void)state;
    queue_add(queue, 1, 1, 1, 0);
    queue_stop(queue, true);
    assert_next(queue, 0, 0);
    assert_reason(queue, 1, "waits: the daemon starts no more jobs");
    queue_stop(queue, false);
    assert_next(queue, 1, 1);
    queue_destroy(queue);
}

static void a_job_that_is_tried_is_named_once_and_nobody_else_is(void **state)
{
    struct queue *queue = queue_of(4);
    uint32_t pes;

    (void)state;
    queue_add(queue, 1, 1, 2, 0);
    queue_add(queue, 2, 2, 1, 0);
    assert_int_equal(queue_turn(queue, 0, &pes), 1);
    assert_int_equal(pes, 2);
    assert_int_equal(queue_turn(queue, 0, &pes), 0);
    queue_add(queue, 3, 3, 1, 9); /* before all others, but the one is under way */
    assert_int_equal(queue_turn(queue, 0, &pes), 0);
    assert_int_equal(queue_wake(queue), -1);
    assert_int_equal(queue_length(queue), 3);
    assert_true(queue_remove(queue, 1)); /* cancelled, or started */
    assert_int_equal(queue_turn(queue, 0, &pes), 3);
    queue_destroy(queue);
}

static void a_job_that_was_tried_in_vain_keeps_its_place(void **state)
{
    struct queue *queue = queue_of(4);
    uint32_t pes;

    (void)state;
    queue_add(queue, 1, 1, 2, 0);
    queue_add(queue, 2, 2, 1, 0);
    assert_int_equal(queue_wake(queue), -1);
    assert_int_equal(queue_turn(queue, 1000, &pes), 1);
    assert_reason(queue, 1, "is about to start");
    queue_put_off(queue, 1, 1500, "host beta: none of its PEs is free");
    assert_true(queue_changed(queue));
    assert_reason(queue, 1, "is tried again in a moment: host beta: none of its PEs is free");
    assert_reason(queue, 2, "1 job is before it");
    assert_int_equal(queue_turn(queue, 1499, &pes), 0);
    assert_int_equal(queue_wake(queue), 1500);
    node.used = 4; /* what there is says more than what there was */
    queue_look(queue);
    assert_reason(queue, 1, "waits for 2 PEs: none of 4 is free");
    assert_int_equal(queue_turn(queue, 1500, &pes), 0);
    slots_release(queue, 4);
    assert_int_equal(queue_turn(queue, 1500, &pes), 1);
    assert_reason(queue, 1, "is about to start");
    queue_put_off(queue, 7, 0, "unknown");
    queue_destroy(queue);
}

static void a_job_that_has_become_too_large_lets_others_pass(void **state)
{
    struct queue *queue = queue_of(4);
    uint32_t pes;

    (void)state;
    queue_add(queue, 1, 1, 4, 0);
    queue_add(queue, 2, 2, 1, 0);
    assert_int_equal(queue_turn(queue, 0, &pes), 1);
    node.slots = 3;
    queue_put_off(queue, 1, 100, "host beta was lost");
    assert_reason(queue, 1, "waits for 4 PEs: this node has only 3");
    assert_int_equal(queue_turn(queue, 0, &pes), 2);
    queue_remove(queue, 2);
    assert_int_equal(queue_wake(queue), -1);
    slots_resize(queue, 4);
    assert_int_equal(queue_wake(queue), 100);
    assert_int_equal(queue_turn(queue, 100, &pes), 1);
    queue_destroy(queue);
}

static void a_reason_says_one_job_and_several_pes_as_one_says_it(void **state)
{
    struct queue *queue = queue_of(4);

    (void)state;
    queue_add(queue, 1, 1, 3, 0);
    assert_next(queue, 1, 3);
    for (uint64_t id = 2; id < 6; id++)
        queue_add(queue, id, id, 2, 0);
    queue_add(queue, 6, 6, 5, 50); /* is not before anybody: it will not start */
    assert_reason(queue, 2, "waits for 2 PEs: 1 of 4 is free");
    assert_reason(queue, 3, "1 job is before it");
    assert_reason(queue, 4, "2 jobs are before it");
    assert_reason(queue, 5, "3 jobs are before it");
    slots_resize(queue, 5);
    assert_reason(queue, 6, "waits for 5 PEs: 2 of 5 are free");
    assert_reason(queue, 2, "1 job is before it");
    queue_destroy(queue);
}

static void a_reason_on_a_node_of_one_pe_or_none(void **state)
{
    struct queue *queue = queue_of(1);

    (void)state;
    queue_add(queue, 1, 1, 0, 0);
    assert_next(queue, 1, 1);
    queue_add(queue, 2, 2, 1, 0);
    assert_reason(queue, 2, "waits for 1 PE: the only one is in use");
    slots_resize(queue, 0);
    assert_reason(queue, 2, "waits for 1 PE: this node has none");
    queue_destroy(queue);
}

static void what_changes_no_reason_is_no_change(void **state)
{
    struct queue *queue = queue_of(4);

    (void)state;
    assert_false(queue_changed(queue));
    queue_add(queue, 1, 1, 2, 0);
    assert_true(queue_changed(queue));
    assert_false(queue_changed(queue));
    assert_next(queue, 1, 2);
    assert_false(queue_changed(queue)); /* nobody is left who has a reason */
    queue_add(queue, 2, 2, 9, 0);
    assert_true(queue_changed(queue));
    queue_add(queue, 3, 3, 1, 0);
    assert_true(queue_changed(queue));
    queue_remove(queue, 2); /* it was before nobody */
    assert_false(queue_changed(queue));
    queue_remove(queue, 3);
    assert_false(queue_changed(queue));
    queue_stop(queue, true);
    slots_resize(queue, 8);
    assert_false(queue_changed(queue));
    queue_destroy(queue);
}

/* ---- any sequence against a model: a list that is searched from the start each time ---- */

#define MODEL_JOBS 24

struct model_job {
    uint64_t id, order;
    uint32_t pes;
    int32_t priority;
    char reason[QUEUE_REASON_SIZE];
};

struct model {
    struct model_job jobs[MODEL_JOBS];
    uint32_t length, slots, used;
    bool stopped;
};

static bool model_fits(const struct model *model, const struct model_job *job)
{
    return (job->pes ? job->pes : 1) <= model->slots;
}

static bool model_before(const struct model_job *one, const struct model_job *other)
{
    return one->priority > other->priority ||
           (one->priority == other->priority && one->order < other->order);
}

static uint32_t model_free(const struct model *model)
{
    return model->slots > model->used ? model->slots - model->used : 0;
}

/* The only one that may start, by the words of queue.h; NULL: none may. */
static struct model_job *model_next(struct model *model)
{
    struct model_job *first = NULL;

    for (uint32_t i = 0; i < model->length; i++)
        if (model_fits(model, &model->jobs[i]) &&
            (first == NULL || model_before(&model->jobs[i], first)))
            first = &model->jobs[i];
    if (model->stopped || first == NULL || (first->pes ? first->pes : 1) > model_free(model))
        return NULL;
    return first;
}

static void model_check_reason(const struct model *model, const struct model_job *job,
                               const char *reason)
{
    uint32_t before = 0, wanted = job->pes ? job->pes : 1, number, other, slots;
    char verb[8];

    for (uint32_t i = 0; i < model->length; i++)
        before += model_fits(model, &model->jobs[i]) && model_before(&model->jobs[i], job);
    require(*reason != '\0');
    require(strstr(reason, "1 PEs") == NULL || strstr(reason, "1 PEs")[-1] != ' ');
    if (model->stopped) {
        require(strstr(reason, "starts no more jobs") != NULL);
    } else if (!model_fits(model, job)) {
        require(strstr(reason, "this node has") != NULL);
        require(sscanf(reason, "waits for %u PE", &number) == 1 && number == wanted);
    } else if (before > 0) {
        require(sscanf(reason, "%u %*s %7s", &number, verb) == 2 && number == before);
        require(strcmp(verb, before == 1 ? "is" : "are") == 0);
    } else if (wanted <= model_free(model)) {
        require(strcmp(reason, "is about to start") == 0);
    } else {
        require(sscanf(reason, "waits for %u PE", &number) == 1 && number == wanted);
        if (sscanf(reason, "waits for %*u %*s %u of %u %7s", &other, &slots, verb) == 3) {
            require(other == model_free(model) && other > 0 && slots == model->slots);
            require(strcmp(verb, other == 1 ? "is" : "are") == 0);
        } else {
            require(model_free(model) == 0);
        }
    }
}

/* Every reason is true, and none becomes another one without queue_changed(). */
static void model_check(struct model *model, struct queue *queue)
{
    bool differs = false;

    require(queue_length(queue) == model->length);
    for (uint32_t i = 0; i < model->length; i++) {
        struct model_job *job = &model->jobs[i];
        char reason[QUEUE_REASON_SIZE];

        queue_reason(queue, job->id, reason);
        model_check_reason(model, job, reason);
        differs |= strcmp(reason, job->reason) != 0;
        memcpy(job->reason, reason, sizeof(reason));
    }
    require(queue_changed(queue) || !differs);
    require(!queue_changed(queue));
}

static void model_take(struct model *model, struct model_job *job)
{
    *job = model->jobs[--model->length];
}

static void model_add(struct model *model, struct queue *queue, struct dice *dice, uint64_t order)
{
    struct model_job *job = &model->jobs[model->length];

    if (model->length == MODEL_JOBS)
        return;
    *job = (struct model_job){
        .id = (dice_below(dice, 1u << 20) << 20) + order, /* no order of its own */
        .order = order,
        .pes = (uint32_t)dice_below(dice, 7),
        .priority = (int32_t)dice_below(dice, 3) - 1,
    };
    require(queue_add(queue, job->id, order, job->pes, job->priority) == 0);
    model->length++;
}

static void model_start(struct model *model, struct queue *queue, uint32_t *running)
{
    struct model_job *job = model_next(model);
    uint32_t pes = 0, available = model_free(model);
    uint64_t id = start_next(queue, &pes);

    require(id == (job != NULL ? job->id : 0));
    if (job == NULL)
        return;
    require(pes == (job->pes ? job->pes : available));
    require(pes >= 1 && pes <= available);
    model->used += pes;
    for (uint32_t i = 0; pes > 0; i++)
        if (running[i] == 0) {
            running[i] = pes;
            pes = 0;
        }
    model_take(model, job);
}

static void model_step(struct model *model, struct queue *queue, struct dice *dice, uint64_t step,
                       uint32_t *running)
{
    uint32_t which;

    switch (dice_below(dice, 8)) {
    case 0:
    case 1:
    case 2:
        model_add(model, queue, dice, step);
        break;
    case 3:
    case 4:
        model_start(model, queue, running);
        break;
    case 5:
        which = (uint32_t)dice_below(dice, 8);
        slots_release(queue, running[which]);
        model->used -= running[which];
        running[which] = 0;
        break;
    case 6:
        if (model->length == 0)
            break;
        which = (uint32_t)dice_below(dice, model->length);
        require(queue_remove(queue, model->jobs[which].id));
        model_take(model, &model->jobs[which]);
        break;
    default:
        if (dice_below(dice, 2))
            queue_stop(queue, model->stopped = dice_below(dice, 3) == 0);
        else
            slots_resize(queue, model->slots = (uint32_t)dice_below(dice, 8));
    }
}

static void any_sequence_does_what_a_list_would(void **state)
{
    uint64_t seeds = stress(400);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct model model = {.slots = (uint32_t)dice_below(&dice, 6)};
        struct queue *queue = queue_of(model.slots);
        /* Each has a PE at least, and there are never more than 7. */
        uint32_t running[8] = {0};

        seed_in_use = seed;
        require(queue != NULL);
        for (uint64_t step = 1; step <= 300; step++) {
            model_step(&model, queue, &dice, step, running);
            model_check(&model, queue);
        }
        queue_destroy(queue);
    }
}

static void ten_thousand_jobs_come_out_in_order(void **state)
{
    struct queue *queue = queue_of(1);
    uint32_t pes;

    (void)state;
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(queue_add(queue, 1 + i * 7919 % 10000, i, 1, (int32_t)(i % 2)), 0);
    assert_reason(queue, 1 + 9998ull * 7919 % 10000, "9999 jobs are before it");
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t submitted = i < 5000 ? i * 2 + 1 : (i - 5000) * 2;

        assert_int_equal(start_next(queue, &pes), 1 + submitted * 7919 % 10000);
        slots_release(queue, pes);
    }
    queue_destroy(queue);
    queue_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_start_in_the_order_of_submission_whatever_the_order_of_their_ids),
        cmocka_unit_test(a_higher_priority_goes_first),
        cmocka_unit_test(nobody_overtakes_a_job_that_waits_for_room),
        cmocka_unit_test(a_job_larger_than_the_node_holds_nobody_up),
        cmocka_unit_test(a_job_of_any_number_takes_all_that_are_free_when_its_turn_comes),
        cmocka_unit_test(a_job_waits_once),
        cmocka_unit_test(nothing_starts_while_it_is_stopped),
        cmocka_unit_test(a_job_that_is_tried_is_named_once_and_nobody_else_is),
        cmocka_unit_test(a_job_that_was_tried_in_vain_keeps_its_place),
        cmocka_unit_test(a_job_that_has_become_too_large_lets_others_pass),
        cmocka_unit_test(a_reason_says_one_job_and_several_pes_as_one_says_it),
        cmocka_unit_test(a_reason_on_a_node_of_one_pe_or_none),
        cmocka_unit_test(what_changes_no_reason_is_no_change),
        watched_test(any_sequence_does_what_a_list_would),
        watched_test(ten_thousand_jobs_come_out_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
