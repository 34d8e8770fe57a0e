#include "tests/unit/unit.h"

#include "daemon/router/fan.h"

#define NODES 40

/* Follow a tree from its root; every node it reaches is counted, with the depth of the deepest. */
static void follow(const struct fan *fan, const struct fan_part *part, uint32_t parent,
                   unsigned seen[NODES], unsigned depth, unsigned *deepest)
{
    struct fan_part children[FAN_ARITY_MAX], own;
    uint32_t node = fan_node(fan, part->low), above, count;

    require(node < NODES && node != fan->root && fan_place(fan, node) == part->low);
    own = fan_part_of(fan, part->low, &above);
    require(own.low == part->low && own.high == part->high && above == parent);
    seen[node]++;
    if (depth > *deepest)
        *deepest = depth;
    count = fan_children(fan, part, children);
    require(count <= fan->arity);
    for (uint32_t i = 0; i < count; i++) {
        require(children[i].low < children[i].high && children[i].low > part->low &&
                children[i].high <= part->high);
        follow(fan, &children[i], node, seen, depth + 1, deepest);
    }
}

static unsigned depth_of(const struct fan *fan, unsigned seen[NODES])
{
    struct fan_part children[FAN_ARITY_MAX];
    uint32_t count = fan_root_children(fan, children);
    unsigned deepest = 0;

    memset(seen, 0, NODES * sizeof(*seen));
    for (uint32_t i = 0; i < count; i++)
        follow(fan, &children[i], fan->root, seen, 1, &deepest);
    return deepest;
}

static void every_node_but_the_root_is_reached_once_by_way_of_its_parent(void **state)
{
    unsigned seen[NODES];

    (void)state;
    for (uint32_t arity = 1; arity <= 5; arity++)
        for (uint32_t first = 0; first < NODES; first += 7)
            for (uint32_t end = first + 1; end <= NODES; end += 3)
                for (uint32_t root = 0; root < NODES; root += 3) {
                    struct fan fan = {first, end, root, arity};
                    uint32_t reached = 0;

                    depth_of(&fan, seen);
                    for (uint32_t node = 0; node < NODES; node++) {
                        bool member = node >= first && node < end && node != root;

                        assert_int_equal(seen[node], member);
                        reached += seen[node];
                    }
                    assert_int_equal(reached, fan_size(&fan));
                }
}

static void a_tree_is_as_flat_as_its_arity_allows(void **state)
{
    unsigned seen[NODES];

    (void)state;
    assert_int_equal(depth_of(&(struct fan){0, 1, 0, 4}, seen), 0);
    assert_int_equal(depth_of(&(struct fan){0, 5, 0, 4}, seen), 1);
    assert_int_equal(depth_of(&(struct fan){0, 21, 0, 4}, seen), 2);
    assert_int_equal(depth_of(&(struct fan){0, 22, 0, 4}, seen), 3);
    assert_int_equal(depth_of(&(struct fan){0, 31, 0, 2}, seen), 4);
}

static void a_node_outside_of_a_tree_has_no_place_in_it(void **state)
{
    struct fan fan = {3, 9, 5, 2};

    (void)state;
    assert_int_equal(fan_place(&fan, 2), UINT32_MAX);
    assert_int_equal(fan_place(&fan, 9), UINT32_MAX);
    assert_int_equal(fan_place(&fan, 5), UINT32_MAX);
    assert_int_equal(fan_place(&fan, 6), 2);
    fan.root = 12;
    assert_int_equal(fan_size(&fan), 6);
    assert_int_equal(fan_place(&fan, 6), 3);
    assert_int_equal(fan_place(&fan, 12), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_but_the_root_is_reached_once_by_way_of_its_parent),
        cmocka_unit_test(a_tree_is_as_flat_as_its_arity_allows),
        cmocka_unit_test(a_node_outside_of_a_tree_has_no_place_in_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
