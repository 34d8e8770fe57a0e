#include "tests/unit/scratch.h"

#include "daemon/jobs/transcript.h"

static struct scratch scratch;
static char directory[PATH_MAX + 16];

static int set_up(void **state)
{
    watchdog_start(state);
    scratch_make(&scratch);
    snprintf(directory, sizeof(directory), "%s/jobs/one", scratch.path);
    return 0;
}

static int tear_down(void **state)
{
    scratch_remove(&scratch);
    return watchdog_stop(state);
}

/* ---- pieces whose content follows from their numbers ---- */

/* Whose it is, and its size, up to the longest now and then; no two alike. */
static struct output_piece piece_make(uint64_t number, size_t size)
{
    static char bytes[OUTPUT_BUFFER];
    struct output_piece piece = {
        .pe = number % 10 == 0 ? OUTPUT_NO_PE : (uint32_t)(number % 3),
        .stream = (enum output_stream)(number % 2),
        .data = bytes,
        .size = size,
    };

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(number * 31 + i * (number % 13 + 1));
    return piece;
}

static size_t size_of(uint64_t number)
{
    struct dice dice = dice_seeded(number);

    if (dice_below(&dice, 20) == 0)
        return OUTPUT_BUFFER - dice_below(&dice, 3);
    return 1 + dice_below(&dice, dice_below(&dice, 4) == 0 ? 6000 : 90);
}

static void put(struct transcript *transcript, uint64_t number, size_t size)
{
    struct output_piece piece = piece_make(number, size);

    require(transcript_append(transcript, &piece) == number);
}

static void put_all(struct transcript *transcript, uint64_t first, uint64_t last)
{
    for (uint64_t number = first; number <= last; number++)
        put(transcript, number, size_of(number));
}

static bool is_piece(const struct output_piece *got, uint64_t number, size_t size)
{
    struct output_piece piece = piece_make(number, size);

    return got->pe == piece.pe && got->stream == piece.stream && got->size == size &&
           memcmp(got->data, piece.data, size) == 0;
}

/* Read from `sequence` on: all that follow are right, and go on to the end. How many they are. */
static uint64_t read_all(struct transcript *transcript, uint64_t sequence)
{
    struct output_piece piece;
    uint64_t count = 0, asked = sequence;

    while (transcript_read(transcript, &sequence, &piece)) {
        require(sequence >= asked && sequence < transcript_next(transcript));
        require(is_piece(&piece, sequence, size_of(sequence)));
        count++;
        asked = ++sequence;
    }
    return count;
}

static struct transcript *opened(uint64_t limit)
{
    struct transcript *transcript = transcript_open(directory, limit);

    require(transcript != NULL);
    return transcript;
}

static size_t file_size(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "jobs/one/%s", name);
    return scratch_size(&scratch, path);
}

/* ---- */

static void pieces_come_back_as_they_were_numbered_from_one(void **state)
{
    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        struct transcript *transcript = transcript_open(on_disk ? directory : NULL, 0);
        uint64_t sequence = 0;
        struct output_piece piece;

        assert_non_null(transcript);
        assert_int_equal(transcript_first(transcript), 1);
        assert_int_equal(transcript_next(transcript), 1);
        assert_false(transcript_read(transcript, &sequence, &piece));
        put_all(transcript, 1, 30);
        assert_int_equal(transcript_next(transcript), 31);
        assert_true(transcript_read(transcript, &sequence, &piece));
        assert_int_equal(sequence, 1);
        assert_int_equal(read_all(transcript, 1), 30);
        assert_int_equal(read_all(transcript, 25), 6);
        assert_int_equal(read_all(transcript, 31), 0);
        assert_int_equal(read_all(transcript, UINT64_MAX), 0);
        transcript_close(transcript);
    }
}

static void a_job_without_output_leaves_nothing(void **state)
{
    (void)state;
    transcript_close(opened(0));
    assert_int_equal(access(scratch_file(&scratch, "jobs"), F_OK), -1);
    transcript_remove(directory);
    transcript_close(NULL);
}

static void a_removed_transcript_leaves_nothing_and_only_its_owner_can_read_it(void **state)
{
    struct transcript *transcript = opened(0);
    struct stat status;

    (void)state;
    put_all(transcript, 1, 300);
    assert_int_equal(stat(directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(stat(scratch_file(&scratch, "jobs/one/output"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    transcript_close(transcript);
    transcript_remove(directory);
    assert_int_equal(access(directory, F_OK), -1);
}

static void what_was_written_is_read_after_a_restart_and_gone_on_with(void **state)
{
    struct transcript *transcript = opened(8 << 20);

    (void)state;
    put_all(transcript, 1, 100);
    transcript_close(transcript);
    transcript = opened(8 << 20);
    assert_int_equal(transcript_damage(transcript), 0);
    assert_int_equal(transcript_next(transcript), 101);
    assert_int_equal(read_all(transcript, 1), 100);
    put_all(transcript, 101, 120);
    assert_int_equal(read_all(transcript, 1), 120);
    transcript_close(transcript);
    transcript = opened(8 << 20);
    assert_int_equal(read_all(transcript, 1), 120);
    transcript_close(transcript);
}

static void any_bytes_are_kept_as_they_are(void **state)
{
    static const size_t sizes[] = {OUTPUT_BUFFER, 1, OUTPUT_BUFFER - 1, 0, 7, OUTPUT_BUFFER};

    (void)state;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        struct transcript *transcript = on_disk ? opened(0) : transcript_open(NULL, 0);

        for (int again = 0; again <= on_disk; again++) {
            for (uint64_t i = 0; i < 6; i++) {
                uint64_t sequence = i + 1;
                struct output_piece piece;

                if (again == 0)
                    put(transcript, i + 1, sizes[i]);
                assert_true(transcript_read(transcript, &sequence, &piece));
                assert_int_equal(sequence, i + 1);
                assert_true(is_piece(&piece, i + 1, sizes[i]));
            }
            if (on_disk && again == 0) {
                transcript_close(transcript);
                transcript = opened(0);
            }
        }
        transcript_close(transcript);
    }
}

static void a_torn_end_is_cut_off_wherever_it_was_torn(void **state)
{
    struct transcript *transcript = opened(0);
    size_t before, size;
    char *bytes;

    (void)state;
    put(transcript, 1, size_of(1));
    put(transcript, 2, size_of(2));
    before = file_size("output");
    put(transcript, 3, size_of(3));
    transcript_close(transcript);
    bytes = scratch_read(&scratch, "jobs/one/output", &size);
    for (size_t length = before; length <= size; length++) {
        bool whole = length == size;

        scratch_write(&scratch, "jobs/one/output", bytes, length);
        transcript = opened(0);
        require(transcript_damage(transcript) == (whole ? 0 : length - before));
        require(read_all(transcript, 0) == (whole ? 3 : 2));
        put_all(transcript, whole ? 4 : 3, 5);
        transcript_close(transcript);
        transcript = opened(0);
        require(transcript_damage(transcript) == 0 && read_all(transcript, 0) == 5);
        transcript_close(transcript);
    }
    free(bytes);
}

static void what_comes_before_a_flipped_byte_is_good_and_nothing_is_made_up(void **state)
{
    struct transcript *transcript = opened(0);
    size_t size;
    char *bytes;

    (void)state;
    for (uint64_t number = 1; number <= 12; number++)
        put(transcript, number, size_of(number) % 100 + 1);
    transcript_close(transcript);
    bytes = scratch_read(&scratch, "jobs/one/output", &size);
    for (size_t place = 0; place < size; place++) {
        uint64_t sequence = 0, expected = 1;
        struct output_piece piece;

        bytes[place] ^= (char)(1 << place % 8);
        scratch_write(&scratch, "jobs/one/output", bytes, size);
        bytes[place] ^= (char)(1 << place % 8);
        transcript = opened(0);
        require(transcript_damage(transcript) > 0);
        for (; transcript_read(transcript, &sequence, &piece); sequence++, expected++) {
            require(sequence == expected);
            require(is_piece(&piece, sequence, size_of(sequence) % 100 + 1));
        }
        require(expected <= 12 && transcript_next(transcript) == expected);
        transcript_close(transcript);
    }
    free(bytes);
}

/* ---- the limit ---- */

static void the_oldest_pieces_go_when_it_is_full(void **state)
{
    struct transcript *transcript = opened(2 << 20);
    uint64_t first, kept;

    (void)state;
    put_all(transcript, 1, 1500);
    assert_in_range(file_size("output"), 1, 1 << 20);
    assert_in_range(file_size("output.old"), (1 << 20) - (70 << 10), 1 << 20);
    first = transcript_first(transcript);
    kept = 1501 - first;
    assert_true(first > 1);
    assert_int_equal(read_all(transcript, 1), kept);
    assert_int_equal(transcript_unwritten(transcript), 0);
    transcript_close(transcript);
    transcript = opened(2 << 20);
    assert_int_equal(transcript_first(transcript), first);
    assert_int_equal(read_all(transcript, 1), kept);
    transcript_close(transcript);
    transcript_remove(directory);
    assert_int_equal(access(directory, F_OK), -1);
}

static void what_follows_a_damaged_older_file_is_still_there(void **state)
{
    struct transcript *transcript = opened(2 << 20);
    uint64_t first, after;
    size_t size;
    char *bytes;

    (void)state;
    put_all(transcript, 1, 1500);
    first = transcript_first(transcript);
    transcript_close(transcript);
    bytes = scratch_read(&scratch, "jobs/one/output.old", &size);
    bytes[size / 2] ^= 1;
    scratch_write(&scratch, "jobs/one/output.old", bytes, size);
    transcript = opened(2 << 20);
    assert_in_range(transcript_damage(transcript), size / 2 - 1, size / 2 + (70 << 10));
    assert_int_equal(transcript_first(transcript), first);
    assert_int_equal(transcript_next(transcript), 1501);
    after = read_all(transcript, 1);
    assert_in_range(after, 2, 1500 - first); /* with a gap */
    put_all(transcript, 1501, 1600);
    assert_int_equal(read_all(transcript, 1501), 100);
    transcript_close(transcript);
    free(bytes);
}

static void without_a_directory_the_newest_half_mebibyte_is_kept(void **state)
{
    struct transcript *transcript = transcript_open(NULL, 64 << 20);
    uint64_t bytes = 0, kept;

    (void)state;
    put_all(transcript, 1, 2000);
    kept = read_all(transcript, 1);
    assert_int_equal(kept, 2001 - transcript_first(transcript));
    for (uint64_t number = transcript_first(transcript); number <= 2000; number++)
        bytes += size_of(number);
    assert_in_range(bytes, TRANSCRIPT_MEMORY - 2 * OUTPUT_BUFFER - kept * 24, TRANSCRIPT_MEMORY);
    assert_int_equal(transcript_unwritten(transcript), 0);
    transcript_close(transcript);
}

static void many_short_pieces_are_kept_as_well(void **state)
{
    struct transcript *transcript = opened(4 << 20);

    (void)state;
    for (uint64_t number = 1; number <= 50000; number++)
        put(transcript, number, 1);
    for (uint64_t number = 50000; number > 997; number -= 997) {
        uint64_t sequence = number;
        struct output_piece piece;

        assert_true(transcript_read(transcript, &sequence, &piece));
        assert_int_equal(sequence, number);
        assert_true(is_piece(&piece, number, 1));
    }
    transcript_close(transcript);
}

/* ---- readers ---- */

static void readers_that_lag_get_every_piece_once_while_more_come(void **state)
{
    struct transcript *transcript = opened(32 << 20);
    uint64_t readers[4] = {1, 1, 1, 1}, written = 0;
    struct dice dice = dice_seeded(first_seed());

    (void)state;
    seed_in_use = first_seed();
    while (written < 2000 || readers[3] <= 2000) {
        struct output_piece piece;

        if (written < 2000 && dice_below(&dice, 2)) {
            written++;
            put(transcript, written, size_of(written));
        }
        for (uint64_t i = 0; i < 4; i++) { /* the first keeps up, the last is far behind */
            uint64_t sequence = readers[i];

            if (written < 2000 && dice_below(&dice, i * i * i + 1) > 1)
                continue;
            if (!transcript_read(transcript, &sequence, &piece))
                continue;
            require(sequence == readers[i]++);
            require(is_piece(&piece, sequence, size_of(sequence)));
        }
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(readers[i] + read_all(transcript, readers[i]), 2001);
    transcript_close(transcript);
}

/* Any piece, asked for before and after the longest one is added, on disk or in memory. */
static void a_piece_is_dropped_exactly_if_that_was_foretold(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + stress(6); seed++) {
        struct dice dice = dice_seeded(seed);
        bool on_disk = seed % 2;
        struct transcript *transcript = on_disk ? opened(0) : transcript_open(NULL, 0);
        uint64_t next = 1, foretold = 0;

        seed_in_use = seed;
        for (int step = 0; step < 400; step++) {
            uint64_t first = transcript_first(transcript);
            /* Often one that is near the end of what is kept. */
            uint64_t asked = first + dice_below(&dice, dice_below(&dice, 2) ? 8 : next - first + 1);
            struct output_piece piece = piece_make(next, OUTPUT_BUFFER);
            bool there = asked < next, drops = transcript_would_drop(transcript, asked);
            uint64_t sequence = asked;

            require(there || !drops);
            require(transcript_append(transcript, &piece) == next++);
            require(transcript_read(transcript, &sequence, &piece) == (there || asked == next - 1));
            require(!there || (sequence != asked) == drops);
            foretold += drops;
            for (uint64_t i = dice_below(&dice, 60); i > 0; i--) {
                piece = piece_make(next, 1 + dice_below(&dice, 300));
                require(transcript_append(transcript, &piece) == next++);
            }
        }
        require(foretold > 0);
        transcript_close(transcript);
        transcript_remove(directory);
    }
}

static void nothing_that_is_not_there_would_be_dropped(void **state)
{
    struct transcript *transcript = transcript_open(NULL, 0);

    (void)state;
    assert_false(transcript_would_drop(transcript, 0));
    assert_false(transcript_would_drop(transcript, 1));
    for (uint64_t number = 1; number <= 8; number++)
        put(transcript, number, OUTPUT_BUFFER);
    assert_true(transcript_would_drop(transcript, 1)); /* it is gone: the next one is meant */
    assert_true(transcript_would_drop(transcript, 2));
    assert_false(transcript_would_drop(transcript, 3));
    assert_false(transcript_would_drop(transcript, 8));
    assert_false(transcript_would_drop(transcript, 9));
    transcript_close(transcript);
}

/* ---- bad disks ---- */

static void on_a_full_disk_who_keeps_up_sees_all_and_who_comes_late_sees_a_gap(void **state)
{
    struct transcript *transcript;
    struct output_piece piece;
    uint64_t sequence, lost, before;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 4096);
    transcript = opened(16 << 20);
    put_all(transcript, 1, 50);
    scratch_fill(&scratch);
    for (uint64_t number = 51; number <= 1000; number++) {
        put(transcript, number, size_of(number));
        sequence = number;
        require(transcript_read(transcript, &sequence, &piece) && sequence == number);
        require(is_piece(&piece, number, size_of(number)));
    }
    lost = transcript_unwritten(transcript);
    assert_in_range(lost, 800, 950); /* some go into what was left of a page */
    scratch_unfill(&scratch);
    put_all(transcript, 1001, 1100);
    assert_int_equal(transcript_unwritten(transcript), lost);
    before = read_all(transcript, 1);
    assert_true(before < 1100 && before > 150);
    assert_int_equal(transcript_first(transcript), 1);
    transcript_close(transcript);
    transcript = opened(16 << 20);
    assert_int_equal(transcript_damage(transcript), 0);
    assert_int_equal(transcript_next(transcript), 1101);
    assert_int_equal(read_all(transcript, 1), 1100 - lost);
    assert_int_equal(read_all(transcript, 1001), 100);
    transcript_close(transcript);
}

static void a_piece_that_is_nowhere_but_in_memory_would_be_dropped(void **state)
{
    struct transcript *transcript;
    uint64_t next = 4;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 1024);
    transcript = opened(16 << 20);
    put(transcript, 1, OUTPUT_BUFFER);
    scratch_fill(&scratch);
    put(transcript, 2, OUTPUT_BUFFER);
    put(transcript, 3, OUTPUT_BUFFER);
    while (!transcript_would_drop(transcript, 2))
        put(transcript, next++, OUTPUT_BUFFER);
    assert_false(transcript_would_drop(transcript, 1)); /* is on disk */
    assert_false(transcript_would_drop(transcript, 3));
    put(transcript, next, OUTPUT_BUFFER);
    assert_true(transcript_would_drop(transcript, 2)); /* the third is meant now */
    transcript_close(transcript);
}

static void in_a_directory_that_cannot_be_written_it_can_still_be_read(void **state)
{
    struct transcript *transcript = opened(0);

    (void)state;
    put_all(transcript, 1, 40);
    transcript_close(transcript);
    if (!scratch_may_mount())
        skip();
    scratch_mount_read_only(&scratch);
    transcript = opened(0);
    assert_int_equal(read_all(transcript, 1), 40);
    put_all(transcript, 41, 45);
    assert_int_equal(transcript_unwritten(transcript), 5);
    assert_int_equal(read_all(transcript, 1), 45);
    transcript_close(transcript);
}

static void what_is_no_directory_of_a_transcript_is_refused(void **state)
{
    (void)state;
    require(mkdir(scratch_file(&scratch, "jobs"), 0700) == 0);
    scratch_write(&scratch, "jobs/one", "", 0);
    errno = 0;
    assert_null(transcript_open(directory, 0));
    assert_int_equal(errno, ENOTDIR);
    require(unlink(directory) == 0 && mkdir(directory, 0700) == 0);
    require(mkdir(scratch_file(&scratch, "jobs/one/output"), 0700) == 0);
    assert_null(transcript_open(directory, 0));
    assert_int_equal(errno, EISDIR);
}

int main(void)
{
#define transcript_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        transcript_test(pieces_come_back_as_they_were_numbered_from_one),
        transcript_test(a_job_without_output_leaves_nothing),
        transcript_test(a_removed_transcript_leaves_nothing_and_only_its_owner_can_read_it),
        transcript_test(what_was_written_is_read_after_a_restart_and_gone_on_with),
        transcript_test(any_bytes_are_kept_as_they_are),
        transcript_test(a_torn_end_is_cut_off_wherever_it_was_torn),
        transcript_test(what_comes_before_a_flipped_byte_is_good_and_nothing_is_made_up),
        transcript_test(the_oldest_pieces_go_when_it_is_full),
        transcript_test(what_follows_a_damaged_older_file_is_still_there),
        transcript_test(without_a_directory_the_newest_half_mebibyte_is_kept),
        transcript_test(many_short_pieces_are_kept_as_well),
        transcript_test(readers_that_lag_get_every_piece_once_while_more_come),
        transcript_test(a_piece_is_dropped_exactly_if_that_was_foretold),
        transcript_test(nothing_that_is_not_there_would_be_dropped),
        transcript_test(on_a_full_disk_who_keeps_up_sees_all_and_who_comes_late_sees_a_gap),
        transcript_test(a_piece_that_is_nowhere_but_in_memory_would_be_dropped),
        transcript_test(in_a_directory_that_cannot_be_written_it_can_still_be_read),
        transcript_test(what_is_no_directory_of_a_transcript_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
