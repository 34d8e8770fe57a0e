#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MIB (1ull << 20)

static const struct segment_geometry usual = {
    .epoch = 9,
    .pes = 10,
    .first_pe = 3,
    .local_pes = 2,
    .node = 1,
    .nodes = 4,
    .cores = 2,
    .region_size = 4 * MIB,
};

/* Node 1 has PEs 3 and 4, node 3 none. */
static const uint32_t usual_nodes[] = {0, 3, 5, 10};

/* ---- geometry ---- */

static int complete_with(size_t field, uint64_t value, size_t size)
{
    struct segment_geometry geometry = usual;

    memcpy((uint8_t *)&geometry + field, &value, size);
    errno = 0;
    if (geometry_complete(&geometry) == 0)
        return 0;
    assert_int_equal(errno, EINVAL);
    return -1;
}

#define complete_if(field, value)                                                                  \
    complete_with(offsetof(struct segment_geometry, field), value, sizeof(usual.field))

static void a_geometry_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_int_equal(complete_if(local_pes, 2), 0);
    assert_int_equal(complete_if(local_pes, 0), 0);
    assert_int_equal(complete_if(local_pes, 7), 0);
    assert_int_equal(complete_if(local_pes, 8), -1);
    assert_int_equal(complete_if(local_pes, UINT32_MAX), -1);
    assert_int_equal(complete_if(pes, 5), 0);
    assert_int_equal(complete_if(pes, 4), -1);
    assert_int_equal(complete_if(pes, 1), -1);
    assert_int_equal(complete_if(pes, 0), -1);
    assert_int_equal(complete_if(pes, C4P_ROUTER - 1), 0);
    assert_int_equal(complete_if(pes, C4P_ROUTER), -1);
    assert_int_equal(complete_if(pes, UINT32_MAX), -1);
    assert_int_equal(complete_if(first_pe, 0), 0);
    assert_int_equal(complete_if(first_pe, 8), 0);
    assert_int_equal(complete_if(first_pe, 9), -1);
    assert_int_equal(complete_if(first_pe, UINT32_MAX), -1);
    assert_int_equal(complete_if(nodes, 0), -1);
    assert_int_equal(complete_if(nodes, 1), -1);
    assert_int_equal(complete_if(nodes, 2), 0);
    assert_int_equal(complete_if(node, 3), 0);
    assert_int_equal(complete_if(node, 4), -1);
}

static void a_region_size_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_int_equal(complete_if(region_size, 0), -1);
    assert_int_equal(complete_if(region_size, 2 * MIB), -1);
    assert_int_equal(complete_if(region_size, SEGMENT_MIN_REGION), 0);
    assert_int_equal(complete_if(region_size, 4 * MIB + 4096), -1);
    assert_int_equal(complete_if(region_size, 5 * MIB), -1);
    assert_int_equal(complete_if(region_size, 6 * MIB), 0);
    assert_int_equal(complete_if(region_size, SEGMENT_MAX_REGION), 0);
    assert_int_equal(complete_if(region_size, SEGMENT_MAX_REGION + 2 * MIB), -1);
    assert_int_equal(complete_if(region_size, UINT64_MAX), -1);
}

static void at_most_1024_pes_live_on_a_node(void **state)
{
    struct segment_geometry geometry = usual;

    (void)state;
    geometry.pes = 2000;
    geometry.local_pes = 1024;
    assert_int_equal(geometry_complete(&geometry), 0);
    assert_int_equal(geometry.slots, 1024 + 1 + 15);
    geometry.local_pes = 1025;
    assert_int_equal(geometry_complete(&geometry), -1);
}

static void the_rest_of_a_geometry_follows_from_its_counts(void **state)
{
    struct segment_geometry geometry = usual;

    (void)state;
    assert_int_equal(geometry_complete(&geometry), 0);
    assert_int_equal(geometry.slots, 2 + 1 + 15);
    assert_int_equal(geometry.regions, 2 * MIB);
    assert_int_equal(geometry.size, 2 * MIB + 18 * 4 * MIB);
    /* Unchanged are the counts themselves. */
    assert_memory_equal(&geometry, &usual, offsetof(struct segment_geometry, slots));
}

static void the_largest_geometry_does_not_overflow(void **state)
{
    struct segment_geometry geometry = usual;

    (void)state;
    geometry.pes = geometry.local_pes = SEGMENT_MAX_PES;
    geometry.first_pe = geometry.node = 0;
    geometry.nodes = 1;
    geometry.region_size = SEGMENT_MAX_REGION;
    assert_int_equal(geometry_complete(&geometry), 0);
    assert_int_equal(geometry.size, geometry.regions + 1040 * SEGMENT_MAX_REGION);
    /* region.c counts granules of 64 bytes in 32 bits. */
    assert_true(SEGMENT_MAX_REGION / CACHE_LINE - 1 <= UINT32_MAX);
}

/* ---- what is in the memory ---- */

static void the_header_has_the_bytes_of_its_specification(void **state)
{
    static const uint8_t expected[] = "\x01"
                                      "C4PSEG\x00"       /* magic */
                                      "\x02\x00\x00\x00" /* version */
                                      "\xc0\x00\x00\x00" /* size of the header: 192 */
                                      "\x09\x00\x00\x00" /* epoch */
                                      "\x0a\x00\x00\x00" /* pes */
                                      "\x03\x00\x00\x00" /* first_pe */
                                      "\x02\x00\x00\x00" /* local_pes */
                                      "\x01\x00\x00\x00" /* node */
                                      "\x04\x00\x00\x00" /* nodes */
                                      "\x02\x00\x00\x00" /* cores */
                                      "\x12\x00\x00\x00" /* slots */
                                      "\x00\x00\x40\x00\x00\x00\x00\x00"  /* region_size */
                                      "\x00\x00\x20\x00\x00\x00\x00\x00"  /* regions */
                                      "\x00\x00\xa0\x04\x00\x00\x00\x00"; /* size */
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    assert_memory_equal(segment.base, expected, sizeof(expected) - 1);
    assert_memory_equal(&geometry, expected + 16, sizeof(geometry));
    assert_memory_equal(&segment.geometry, &geometry, sizeof(geometry));
    segment_close(&segment);
}

static void slots_buckets_and_regions_lie_where_they_are_specified(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    assert_int_equal((uint8_t *)segment_endpoint(&segment, 0) - segment.base, 4096);
    assert_int_equal((uint8_t *)segment_endpoint(&segment, 17) - segment.base, 4096 + 17 * 256);
    assert_int_equal((uint8_t *)segment_buckets(&segment) - segment.base, 4096 + 18 * 256);
    assert_true((uint8_t *)(segment_buckets(&segment) + SEGMENT_BUCKETS) <=
                segment.base + geometry.regions);
    assert_int_equal(sizeof(struct segment_bucket), 64);
    assert_int_equal(offsetof(struct segment_endpoint, inbox), 0);
    assert_int_equal(offsetof(struct segment_endpoint, returns), 64);
    assert_int_equal(offsetof(struct segment_endpoint, sent), 128);
    assert_int_equal(offsetof(struct segment_endpoint, bytes_sent), 192);
    assert_int_equal(offsetof(struct segment_header, awake), 128);
    segment_close(&segment);
}

static void a_new_segment_is_empty_and_takes_no_memory(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;
    struct stat status;

    (void)state;
    geometry.region_size = 1024 * MIB;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    assert_int_equal(fstat(segment.fd, &status), 0);
    assert_int_equal(status.st_size, geometry.size);
    assert_true((uint64_t)status.st_blocks * 512 < MIB);
    for (uint64_t i = 4096; i < 4096 + 18 * 256 + 1024 * 64; i++)
        assert_int_equal(segment.base[i], 0);
    segment_close(&segment);
}

static void who_maps_a_segment_sees_what_its_maker_wrote(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment made, mapped;

    (void)state;
    assert_int_equal(segment_create(&made, &geometry, usual_nodes), 0);
    assert_int_equal(segment_map(&mapped, dup(made.fd), -1), 0);
    assert_memory_equal(&mapped.geometry, &geometry, sizeof(geometry));
    assert_ptr_not_equal(mapped.base, made.base);
    assert_int_equal(mapped.router_wake, -1);

    atomic_store(&segment_endpoint(&made, 17)->processed, 5);
    assert_int_equal(atomic_load(&segment_endpoint(&mapped, 17)->processed), 5);
    segment_buckets(&mapped)[1023].first = 77;
    assert_int_equal(segment_buckets(&made)[1023].first, 77);
    segment_block(&mapped, geometry.size - 128)->collection = 99;
    assert_int_equal(segment_block(&made, geometry.size - 128)->collection, 99);

    segment_close(&made);
    /* The mapping outlives its maker's. */
    assert_int_equal(segment_block(&mapped, geometry.size - 128)->collection, 99);
    segment_close(&mapped);
}

static void a_segment_tells_which_node_each_pe_is_on(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment made, mapped;

    (void)state;
    assert_int_equal(segment_create(&made, &geometry, usual_nodes), 0);
    assert_int_equal(segment_map(&mapped, dup(made.fd), -1), 0);
    assert_memory_equal(segment_first_pes(&mapped), usual_nodes, sizeof(usual_nodes));
    assert_int_equal((uint8_t *)segment_first_pes(&made) - made.base, 4096 + 18 * 256 + 1024 * 64);
    segment_close(&made);
    segment_close(&mapped);
}

static void nodes_that_do_not_fit_the_geometry_are_refused(void **state)
{
    static const uint32_t wrong[][4] = {
        {1, 3, 5, 10}, {0, 2, 5, 10}, {0, 3, 6, 10}, {0, 3, 5, 4}, {0, 3, 5, 11},
    };
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, NULL), -1);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        errno = 0;
        assert_int_equal(segment_create(&segment, &geometry, wrong[i]), -1);
        assert_int_equal(errno, EINVAL);
    }
}

static void a_segment_can_neither_shrink_nor_grow(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    assert_int_equal(ftruncate(segment.fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(segment.fd, (off_t)geometry.size - 4096), -1);
    assert_int_equal(ftruncate(segment.fd, (off_t)geometry.size + 4096), -1);
    /* Nor can somebody forbid the others to write. */
    assert_int_equal(fcntl(segment.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
    assert_int_equal(errno, EPERM);
    segment_close(&segment);
}

static void descriptors_do_not_pass_through_exec(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    assert_true(fcntl(segment.fd, F_GETFD) & FD_CLOEXEC);
    segment_close(&segment);
}

/* ---- what is refused ---- */

static int memfd_of(const void *bytes, size_t size, off_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    require(fd >= 0);
    require(pwrite(fd, bytes, size, 0) == (ssize_t)size);
    require(ftruncate(fd, length) == 0);
    return fd;
}

/* Both descriptors are closed whatever comes out. */
static void assert_refused(int fd, int error)
{
    struct segment segment;
    int wake = eventfd(0, 0);

    errno = 0;
    assert_int_equal(segment_map(&segment, fd, wake), -1);
    assert_int_equal(errno, error);
    assert_int_equal(segment.fd, -1);
    assert_int_equal(segment.router_wake, -1);
    assert_null(segment.base);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(fcntl(wake, F_GETFD), -1);
    segment_close(&segment);
}

static struct segment_header valid_header(void)
{
    struct segment_header header = {
        .magic = SEGMENT_MAGIC,
        .version = SEGMENT_VERSION,
        .header_size = sizeof(struct segment_header),
        .geometry = usual,
    };

    require(geometry_complete(&header.geometry) == 0);
    return header;
}

static int memfd_of_header(const struct segment_header *header)
{
    return memfd_of(header, sizeof(*header), (off_t)usual.region_size * 18 + 2 * (off_t)MIB);
}

static void a_truncated_segment_is_refused(void **state)
{
    static const off_t lengths[] = {0,
                                    1,
                                    127,
                                    4095,
                                    4096,
                                    2 * MIB,
                                    74 * MIB - 4096,
                                    74 * MIB - 1,
                                    74 * MIB + 1,
                                    74 * MIB + 4096};
    struct segment_header header = valid_header();
    struct segment segment;

    (void)state;
    assert_int_equal(segment_map(&segment, memfd_of_header(&header), -1), 0);
    segment_close(&segment);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
        assert_refused(memfd_of(&header, sizeof(header), lengths[i]), EBADMSG);
}

static void another_version_is_refused(void **state)
{
    struct segment_header header = valid_header();

    (void)state;
    header.version = 0;
    assert_refused(memfd_of_header(&header), EBADMSG);
    header.version = SEGMENT_VERSION - 1;
    assert_refused(memfd_of_header(&header), EBADMSG);
    header.version = SEGMENT_VERSION + 1;
    assert_refused(memfd_of_header(&header), EBADMSG);
    header = valid_header();
    header.header_size += 64;
    assert_refused(memfd_of_header(&header), EBADMSG);
}

static void what_is_no_segment_is_refused(void **state)
{
    static uint8_t garbage[8192];
    struct dice dice = dice_seeded(first_seed());
    int ends[2];

    (void)state;
    assert_refused(memfd_of("", 0, 4096), EBADMSG);
    assert_refused(memfd_of("", 0, 74 * MIB), EBADMSG);
    for (unsigned long i = 0; i < stress(100); i++) {
        for (size_t j = 0; j < sizeof(garbage); j++)
            garbage[j] = (uint8_t)dice_throw(&dice);
        assert_refused(memfd_of(garbage, sizeof(garbage), 74 * MIB), EBADMSG);
    }
    require(pipe(ends) == 0);
    close(ends[1]);
    assert_refused(ends[0], EBADMSG);
    assert_refused(-1, EBADF);
}

/* Every field of the geometry, set to every kind of wrong value: either refused or harmless. */
static void a_geometry_that_contradicts_itself_is_refused(void **state)
{
    static const uint64_t wrong[] = {0,          1,          1025,       0x7fffffff,
                                     0x80000000, UINT32_MAX, 1ull << 47, UINT64_MAX};
    const size_t first_derived = offsetof(struct segment_geometry, slots);

    (void)state;
    for (size_t field = first_derived; field < sizeof(usual); field += 4)
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
            struct segment_header header = valid_header();
            uint8_t *at = (uint8_t *)&header.geometry + field;
            uint32_t half = (uint32_t)wrong[i];

            if (memcmp(at, &half, sizeof(half)) == 0)
                continue;
            memcpy(at, &half, sizeof(half));
            assert_refused(memfd_of_header(&header), EBADMSG);
        }
}

static void changed_counts_are_refused_when_the_size_does_not_follow(void **state)
{
    (void)state;
    for (uint32_t local = 0; local < 20; local++) {
        struct segment_header header = valid_header();

        if (local == header.geometry.local_pes)
            continue;
        header.geometry.local_pes = local;
        assert_refused(memfd_of_header(&header), EBADMSG);
        header.geometry.slots = local + 16;
        assert_refused(memfd_of_header(&header), EBADMSG);
    }
}

static void a_segment_that_cannot_be_had_leaves_nothing_behind(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;
    int fd = dup(0);

    (void)state;
    close(fd);
    geometry.pes = 0;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(segment.fd, -1);

    /* More than an address space holds. */
    geometry = usual;
    geometry.pes = geometry.local_pes = SEGMENT_MAX_PES;
    geometry.first_pe = geometry.node = 0;
    geometry.nodes = 1;
    geometry.region_size = SEGMENT_MAX_REGION;
    errno = 0;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), -1);
    assert_int_not_equal(errno, 0);
    assert_int_equal(segment.fd, -1);
    assert_null(segment.base);
    /* The lowest free descriptor is the same as before. */
    assert_int_equal(dup(0), fd);
    close(fd);
}

static void closing_twice_does_no_harm(void **state)
{
    struct segment_geometry geometry = usual;
    struct segment segment;

    (void)state;
    assert_int_equal(segment_create(&segment, &geometry, usual_nodes), 0);
    segment_close(&segment);
    segment_close(&segment);
    assert_int_equal(segment.fd, -1);
}

/* ---- addresses and offsets ---- */

static void an_address_leads_to_its_slot(void **state)
{
    struct segment segment = {.geometry = usual};

    (void)state;
    assert_int_equal(geometry_complete(&segment.geometry), 0);
    assert_int_equal(segment_slot(&segment, 3), 0);
    assert_int_equal(segment_slot(&segment, 4), 1);
    assert_int_equal(segment_router_slot(&segment), 2);
    assert_int_equal(segment_slot(&segment, C4P_ROUTER | 1), 2);
    /* Other nodes' routers are reached through the own one. */
    assert_int_equal(segment_slot(&segment, C4P_ROUTER), 2);
    assert_int_equal(segment_slot(&segment, C4P_ROUTER | 3), 2);
    assert_int_equal(segment_slot(&segment, C4P_ROUTER | 0x3fffffff), 2);
}

static void clients_sit_behind_the_router_and_their_numbers_go_round(void **state)
{
    struct segment segment = {.geometry = usual};

    (void)state;
    segment.geometry.node = 0;
    assert_int_equal(geometry_complete(&segment.geometry), 0);
    assert_int_equal(segment_slot(&segment, C4P_CLIENT), 3);
    assert_int_equal(segment_slot(&segment, C4P_CLIENT | (SEGMENT_CLIENT_SLOTS - 1)),
                     segment.geometry.slots - 1);
    assert_int_equal(segment_slot(&segment, C4P_CLIENT | SEGMENT_CLIENT_SLOTS), 3);
    for (uint32_t number = 0; number < 1000; number++)
        assert_in_range(segment_slot(&segment, UINT32_MAX - number), 3, segment.geometry.slots - 1);
}

static void an_address_that_is_not_on_this_node_has_no_slot(void **state)
{
    static const uint32_t elsewhere[] = {0, 2, 5, 9, 10, 0x7fffffff, C4P_CLIENT | 1};
    struct segment segment = {.geometry = usual};

    (void)state;
    assert_int_equal(geometry_complete(&segment.geometry), 0);
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
        assert_int_equal(segment_slot(&segment, elsewhere[i]), segment.geometry.slots);
}

static void only_aligned_offsets_inside_the_regions_are_valid(void **state)
{
    struct segment segment = {.geometry = usual};
    uint64_t size;

    (void)state;
    assert_int_equal(geometry_complete(&segment.geometry), 0);
    size = segment.geometry.size;
    assert_true(segment_offset_valid(&segment, 2 * MIB));
    assert_true(segment_offset_valid(&segment, 2 * MIB + 64));
    assert_true(segment_offset_valid(&segment, size - 128));
    assert_false(segment_offset_valid(&segment, size - 64));
    assert_false(segment_offset_valid(&segment, size));
    assert_false(segment_offset_valid(&segment, 2 * MIB - 64));
    assert_false(segment_offset_valid(&segment, 2 * MIB + 8));
    assert_false(segment_offset_valid(&segment, 0));
    assert_false(segment_offset_valid(&segment, 1));
    assert_false(segment_offset_valid(&segment, UINT64_MAX - 63));
    assert_false(segment_offset_valid(&segment, UINT64_MAX));
}

static void an_offset_tells_its_owner_and_the_room_behind_it(void **state)
{
    struct segment segment = {.geometry = usual};

    (void)state;
    assert_int_equal(geometry_complete(&segment.geometry), 0);
    assert_int_equal(segment_owner(&segment, 2 * MIB), 0);
    assert_int_equal(segment_owner(&segment, 6 * MIB - 64), 0);
    assert_int_equal(segment_owner(&segment, 6 * MIB), 1);
    assert_int_equal(segment_owner(&segment, segment.geometry.size - 128), 17);
    assert_int_equal(segment_room(&segment, 2 * MIB), 4 * MIB);
    assert_int_equal(segment_room(&segment, 2 * MIB + 64), 4 * MIB - 64);
    assert_int_equal(segment_room(&segment, 6 * MIB - 64), 64);
    assert_int_equal(segment_room(&segment, 6 * MIB), 4 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_geometry_out_of_range_is_refused),
        cmocka_unit_test(a_region_size_out_of_range_is_refused),
        cmocka_unit_test(at_most_1024_pes_live_on_a_node),
        cmocka_unit_test(the_rest_of_a_geometry_follows_from_its_counts),
        cmocka_unit_test(the_largest_geometry_does_not_overflow),
        cmocka_unit_test(the_header_has_the_bytes_of_its_specification),
        cmocka_unit_test(slots_buckets_and_regions_lie_where_they_are_specified),
        cmocka_unit_test(a_new_segment_is_empty_and_takes_no_memory),
        cmocka_unit_test(who_maps_a_segment_sees_what_its_maker_wrote),
        cmocka_unit_test(a_segment_tells_which_node_each_pe_is_on),
        cmocka_unit_test(nodes_that_do_not_fit_the_geometry_are_refused),
        cmocka_unit_test(a_segment_can_neither_shrink_nor_grow),
        cmocka_unit_test(descriptors_do_not_pass_through_exec),
        cmocka_unit_test(a_truncated_segment_is_refused),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(what_is_no_segment_is_refused),
        cmocka_unit_test(a_geometry_that_contradicts_itself_is_refused),
        cmocka_unit_test(changed_counts_are_refused_when_the_size_does_not_follow),
        cmocka_unit_test(a_segment_that_cannot_be_had_leaves_nothing_behind),
        cmocka_unit_test(closing_twice_does_no_harm),
        cmocka_unit_test(an_address_leads_to_its_slot),
        cmocka_unit_test(clients_sit_behind_the_router_and_their_numbers_go_round),
        cmocka_unit_test(an_address_that_is_not_on_this_node_has_no_slot),
        cmocka_unit_test(only_aligned_offsets_inside_the_regions_are_valid),
        cmocka_unit_test(an_offset_tells_its_owner_and_the_room_behind_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
