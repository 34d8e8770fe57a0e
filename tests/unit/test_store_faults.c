/*
 * The store on disks that are full, cannot be written, or hold something else than was written;
 * beside processes that lock it; and killed.
 *
 * C4P_KILLS is how many times a writer is killed (20), C4P_CORRUPTIONS in how many places a byte is
 * flipped (200).
 */
#include "tests/unit/store_fixture.h"

#include <time.h>

static struct scratch scratch;
static char error[STORE_ERROR_SIZE];
static const struct store_filter any = {.with_request = true, .with_end = true};
static const struct store_filter open_ones = {.open = true};
static const struct store_filter ended_ones = {.ended = true};

static int set_up(void **state)
{
    watchdog_start(state);
    scratch_make(&scratch);
    error[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    scratch_remove(&scratch);
    return watchdog_stop(state);
}

/* ---- a full disk ---- */

static uint64_t submit_until_refused(struct store *store, uint64_t first)
{
    uint64_t number = first;

    while (job_submit(store, number, error) == 0)
        require(++number < 3000);
    assert_sentence(error, "make room on");
    return number - 1;
}

static void on_a_full_disk_nothing_is_accepted_and_every_end_is_recorded(void **state)
{
    struct store *store;
    uint64_t jobs;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 4096);
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 20);
    scratch_fill(&scratch);
    jobs = submit_until_refused(store, 21);
    jobs_ended(store, 1, jobs);
    assert_int_equal(store_accepts(store, error), -1);
    assert_sentence(error, "make room on");
    scratch_fill(&scratch); /* with what was left of the reserve */
    assert_int_equal(store_retry(store, error), 0);
    assert_sentence(error, "make room on");
    scratch_unfill(&scratch);
    assert_int_equal(store_retry(store, error), 0);
    assert_string_equal(error, "");
    assert_int_equal(store_accepts(store, error), 0);
    jobs_submitted(store, jobs + 1, jobs + 1);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_listed(store, &ended_ones)->count, jobs);
    assert_int_equal(store_listed(store, &open_ones)->count, 1);
    store_close(store);
}

static int end_with_much_to_say(struct store *store, uint64_t number)
{
    static char much[STORE_MAX_TEXT];
    struct job_bytes bytes;
    struct store_job job;

    job_make(number, true, &job, &bytes);
    job.text = job.tail = much;
    job.text_size = job.tail_size = sizeof(much);
    return store_end(store, &job, error);
}

static void an_end_that_finds_no_room_is_known_at_once_and_written_later(void **state)
{
    struct store *store;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 8192);
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 8);
    scratch_fill(&scratch);
    assert_int_equal(end_with_much_to_say(store, 1), 0); /* takes the reserve */
    scratch_fill(&scratch);
    for (uint64_t number = 2; number <= 5; number++) {
        assert_int_equal(end_with_much_to_say(store, number), 1);
        assert_sentence(error, "there is no room left on the disk (make room on it)");
    }
    assert_int_equal(store_listed(store, &ended_ones)->count, 5);
    assert_int_equal(store_listed(store, &open_ones)->count, 3);
    assert_int_equal(store_change(store, job_id(2), JOB_RUNNING, 1, 1, error), -1);
    assert_int_equal(job_end(store, 2, error), -1);
    assert_int_equal(store_forget(store, 10, 0, NULL, NULL, error), 0);
    assert_int_equal(store_retry(store, error), 4);
    assert_sentence(error, "no room");
    assert_int_equal(job_submit(store, 9, error), -1);
    assert_sentence(error, "make room on");
    scratch_unfill(&scratch);
    assert_int_equal(store_retry(store, error), 0);
    assert_string_equal(error, "");
    jobs_submitted(store, 9, 9);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_quarantined(store), 0);
    assert_int_equal(store_listed(store, &ended_ones)->count, 5);
    assert_int_equal(store_listed(store, &open_ones)->count, 4);
    store_close(store);
}

static void on_a_full_disk_a_daemon_starts_in_the_room_that_the_last_one_reserved(void **state)
{
    struct store *store;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 4096);
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 5);
    store_close(store);
    scratch_fill(&scratch);
    store = store_opened(&scratch);
    assert_int_equal(store_listed(store, &open_ones)->count, 5);
    assert_int_equal(store_accepts(store, error), -1);
    jobs_ended(store, 1, 5);
    scratch_unfill(&scratch);
    assert_int_equal(store_retry(store, error), 0);
    assert_int_equal(store_accepts(store, error), 0);
    store_close(store);
}

static void a_disk_without_any_room_is_named_and_is_no_damage(void **state)
{
    struct store *store;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 4096);
    scratch_fill(&scratch);
    assert_int_equal(store_open(&store, scratch.path, NULL, NULL, error), STORE_TRANSIENT);
    assert_sentence(error, "make room on it");
    scratch_unfill(&scratch);
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 1);
    store_close(store);
    require(unlink(scratch_file(&scratch, "store.reserve")) == 0);
    scratch_fill(&scratch);
    assert_int_equal(store_open(&store, scratch.path, NULL, NULL, error), STORE_TRANSIENT);
    assert_sentence(error, "make room on it");
}

/* ---- a directory that cannot be written ---- */

static void a_directory_that_cannot_be_written_is_named_with_the_reason(void **state)
{
    struct store *store;

    (void)state;
    if (!scratch_may_mount())
        skip();
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 1);
    store_close(store);
    scratch_mount_read_only(&scratch);
    assert_int_equal(store_open(&store, scratch.path, NULL, NULL, error), STORE_TRANSIENT);
    assert_null(store);
    assert_sentence(error, "Read-only file system");
    scratch_unmount(&scratch);
    store = store_opened(&scratch);
    assert_int_equal(store_listed(store, &open_ones)->count, 1);
    store_close(store);
}

/* ---- other processes ---- */

struct other {
    pid_t pid;
    int go, told;
};

static void turn_wait(int fd)
{
    char byte;

    require(read(fd, &byte, 1) == 1);
}

static void turn_give(int fd)
{
    require(write(fd, "", 1) == 1);
}

/* A process that runs SQL on the store when it is told to, and ends when it is told again. It is
 * started before the store is opened here: SQLite's handles do not survive a fork. */
static struct other other_start(const char *sql)
{
    struct other other;
    int go[2], told[2];
    sqlite3 *db;

    require(pipe2(go, O_CLOEXEC) == 0 && pipe2(told, O_CLOEXEC) == 0);
    other = (struct other){fork(), go[1], told[0]};
    require(other.pid >= 0);
    if (other.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        turn_wait(go[0]);
        require(sqlite3_open(scratch_file(&scratch, "store.db"), &db) == SQLITE_OK);
        require(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
        turn_give(told[1]);
        turn_wait(go[0]);
        _exit(0);
    }
    close(go[0]);
    close(told[1]);
    return other;
}

static void other_act(const struct other *other)
{
    turn_give(other->go);
    turn_wait(other->told);
}

static void other_end(const struct other *other)
{
    turn_give(other->go);
    child_join(other->pid);
    close(other->go);
    close(other->told);
}

static void a_process_that_reads_the_store_is_in_nobodys_way(void **state)
{
    struct other reader = other_start("BEGIN; SELECT * FROM job");
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 3);
    other_act(&reader);
    jobs_submitted(store, 4, 40);
    jobs_ended(store, 1, 20);
    assert_int_equal(store_forget(store, 0, 0, NULL, NULL, error), 20);
    other_end(&reader);
    assert_int_equal(store_listed(store, &any)->count, 20);
    store_close(store);
}

static void while_another_process_writes_submissions_fail_and_ends_are_kept(void **state)
{
    struct other writer = other_start("BEGIN IMMEDIATE");
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 2);
    other_act(&writer);
    assert_int_equal(job_submit(store, 3, error), -1);
    assert_sentence(error, "another process keeps it locked");
    assert_int_equal(job_end(store, 1, error), 1);
    assert_sentence(error, "another process keeps it locked");
    assert_int_equal(store_listed(store, &ended_ones)->count, 1);
    assert_int_equal(store_accepts(store, error), -1);
    assert_sentence(error, "another process keeps it locked");
    other_end(&writer);
    assert_int_equal(store_retry(store, error), 0);
    jobs_submitted(store, 3, 3);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_listed(store, &ended_ones)->count, 1);
    assert_int_equal(store_listed(store, &open_ones)->count, 2);
    store_close(store);
}

/* ---- something else is in the file ---- */

#define SAMPLE 12

/* A store of SAMPLE jobs, of which the even ones are over, closed. */
static char *sample_make(size_t *size)
{
    struct store *store = store_opened(&scratch);

    jobs_submitted(store, 1, SAMPLE);
    for (uint64_t number = 2; number <= SAMPLE; number += 2)
        jobs_ended(store, number, number);
    store_close(store);
    return scratch_read(&scratch, "store.db", size);
}

static void sample_put(const char *bytes, size_t size)
{
    unlink(scratch_file(&scratch, "store.db-wal"));
    unlink(scratch_file(&scratch, "store.db-shm"));
    scratch_write(&scratch, "store.db", bytes, size);
}

static bool sample_job_is_right(void *context, const struct store_job *job)
{
    unsigned *count = context;

    (*count)++;
    for (uint64_t number = 1; number <= SAMPLE; number++)
        if (job->id == job_id(number)) {
            require(job_is(job, number, number % 2 == 0));
            return true;
        }
    require(job->id == 0); /* is none that anybody submitted */
    return false;
}

/* Whatever is still known is what was written, and what is not is in quarantine. */
static void sample_check(struct store *store)
{
    unsigned count = 0;

    require(store_list(store, &any, sample_job_is_right, &count, error) == 0);
    require(count + store_quarantined(store) >= SAMPLE);
    require(store_quarantined(store) <= 2 * (SAMPLE - count)); /* a row and its request, apart */
}

static void assert_opens_as(enum store_open_result expected, const char *sentence)
{
    struct store *store;

    assert_int_equal(store_open(&store, scratch.path, NULL, NULL, error), expected);
    assert_null(store);
    assert_sentence(error, sentence);
}

static void a_store_that_was_cut_short_is_damaged_wherever_it_was_cut(void **state)
{
    static const size_t lengths[] = {0, 1, 15, 16, 99, 100, 511, 512, 1024, 4095, 4096, 4097};
    size_t size;
    char *bytes = sample_make(&size);

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        sample_put(bytes, lengths[i]);
        assert_opens_as(STORE_DAMAGED, "put back a copy of it, or move it away");
    }
    for (size_t length = 8192; length < size; length += 2048) {
        sample_put(bytes, length);
        assert_opens_as(STORE_DAMAGED, "put back a copy of it, or move it away");
    }
    sample_put(bytes, size);
    store_close(store_opened(&scratch));
    free(bytes);
}

static void flip(char *bytes, size_t size, size_t place, unsigned char with)
{
    struct store *store;
    enum store_open_result result;

    bytes[place] = (char)(bytes[place] ^ with);
    sample_put(bytes, size);
    result = store_open(&store, scratch.path, NULL, NULL, error);
    if (result == STORE_OPEN) {
        sample_check(store);
        /* It can be used on. */
        if (job_submit(store, 1000, error) != 0 || job_end(store, 1000, error) != 0)
            fail_msg("byte %zu, xor %u: %s", place, with, error);
        store_close(store);
    } else {
        require(result == STORE_DAMAGED || result == STORE_NEWER);
        require(strlen(error) > 20);
    }
    bytes[place] = (char)(bytes[place] ^ with);
}

static void no_flipped_byte_makes_another_job_of_one(void **state)
{
    unsigned long flips = number_from_environment("C4P_CORRUPTIONS", 200);
    size_t size;
    char *bytes = sample_make(&size);
    struct dice dice;

    (void)state;
    for (size_t place = 0; place < 100; place++) /* the header, where each has a meaning */
        flip(bytes, size, place, place % 2 ? 0x01 : 0x80);
    for (seed_in_use = first_seed(); seed_in_use < first_seed() + flips; seed_in_use++) {
        dice = dice_seeded(seed_in_use);
        flip(bytes, size, dice_below(&dice, size), (unsigned char)(1 + dice_below(&dice, 255)));
    }
    free(bytes);
}

/* What a daemon that was killed leaves: everything is in the log. */
static void hot_log_make(uint64_t jobs)
{
    pid_t pid = fork();

    require(pid >= 0);
    if (pid == 0) {
        struct store *store;

        require(store_open(&store, scratch.path, NULL, NULL, error) == STORE_OPEN);
        for (uint64_t number = 1; number <= jobs; number++)
            require(job_submit(store, number, error) == 0);
        _exit(0);
    }
    child_join(pid);
}

static bool is_next_job(void *context, const struct store_job *job)
{
    uint64_t *number = context;

    require(job_is(job, ++*number, false));
    return true;
}

static void a_damaged_log_is_good_up_to_the_damage(void **state)
{
    struct dice dice = dice_seeded(first_seed());
    size_t size, log_size;
    char *bytes, *log;
    struct store *store;

    (void)state;
    hot_log_make(SAMPLE);
    bytes = scratch_read(&scratch, "store.db", &size);
    log = scratch_read(&scratch, "store.db-wal", &log_size);
    assert_true(log_size > SAMPLE * 1000);
    for (int round = 0; round < 60; round++) {
        size_t place = dice_below(&dice, log_size);
        uint64_t known = 0;

        sample_put(bytes, size);
        log[place] ^= 0x10;
        scratch_write(&scratch, "store.db-wal", log, round % 2 ? place : log_size);
        log[place] ^= 0x10;
        store = store_opened(&scratch);
        require(store_list(store, &any, is_next_job, &known, error) == 0);
        require(known < SAMPLE && store_quarantined(store) == 0);
        store_close(store);
    }
    sample_put(bytes, size);
    scratch_write(&scratch, "store.db-wal", log, log_size);
    store = store_opened(&scratch);
    assert_int_equal(store_listed(store, &any)->count, SAMPLE);
    store_close(store);
    free(bytes);
    free(log);
}

static void a_store_of_a_later_c4pd_is_left_alone(void **state)
{
    size_t size, after;
    char *bytes, *now;

    (void)state;
    free(sample_make(&size));
    store_tamper(&scratch, "PRAGMA user_version = 3");
    bytes = scratch_read(&scratch, "store.db", &size);
    assert_opens_as(STORE_NEWER, "a later c4pd wrote it (version 3, this one knows 2)");
    now = scratch_read(&scratch, "store.db", &after);
    assert_int_equal(after, size);
    assert_memory_equal(now, bytes, size);
    free(bytes);
    free(now);
}

static void what_is_no_store_is_damaged(void **state)
{
    char garbage[5000];

    (void)state;
    store_close(store_opened(&scratch));
    store_tamper(&scratch, "PRAGMA user_version = 0");
    assert_opens_as(STORE_DAMAGED, "its version is none that c4pd ever wrote");
    store_tamper(&scratch, "PRAGMA user_version = 2; PRAGMA application_id = 77");
    assert_opens_as(STORE_DAMAGED, "it is a database of another program");
    store_tamper(&scratch, "PRAGMA application_id = 0x63347064; DROP TABLE request");
    assert_opens_as(STORE_DAMAGED, "its tables are not those of c4pd");
    memset(garbage, 'g', sizeof(garbage));
    sample_put(garbage, sizeof(garbage));
    assert_opens_as(STORE_DAMAGED, "no database of SQLite");
    require(unlink(scratch_file(&scratch, "store.db")) == 0);
    require(mkdir(scratch_file(&scratch, "store.db"), 0700) == 0);
    assert_opens_as(STORE_DAMAGED, "it is no file");
    require(rmdir(scratch_file(&scratch, "store.db")) == 0);
    scratch_write(&scratch, "store.db-wal", garbage, sizeof(garbage));
    assert_opens_as(STORE_DAMAGED, "it is missing, while store.db-wal is there");
}

static void a_store_that_was_not_finished_is_begun_anew(void **state)
{
    struct store *store;

    (void)state;
    scratch_write(&scratch, "store.db.new", "half", 4);
    scratch_write(&scratch, "store.db.new-journal", "half", 4);
    store = store_opened(&scratch);
    jobs_submitted(store, 1, 1);
    store_close(store);
    assert_int_equal(access(scratch_file(&scratch, "store.db.new"), F_OK), -1);
    assert_int_equal(access(scratch_file(&scratch, "store.db.new-journal"), F_OK), -1);
}

/* Each does something else to job 3. */
static const struct {
    const char *sql, *reason;
} tampering[] = {
    {"UPDATE job SET state = 99 WHERE sequence = 3", "a number is out of range"},
    {"UPDATE job SET state = 5 WHERE sequence = 3", "the checksum of its state"},
    {"UPDATE job SET ended = 1 WHERE sequence = 3", "the checksum of its state"},
    {"UPDATE job SET message = 'no' WHERE sequence = 3", "the checksum of its state"},
    {"UPDATE job SET exit_code = 'x' WHERE sequence = 3", "another type"},
    {"UPDATE job SET exit_code = 1 << 40 WHERE sequence = 3", "a number is out of range"},
    {"UPDATE job SET pes = -1 WHERE sequence = 3", "a number is out of range"},
    {"UPDATE job SET id = id + 1 WHERE sequence = 3", "the checksum of its request"},
    {"UPDATE job SET id = 1 << 40 WHERE sequence = 3", "a number is out of range"},
    {"UPDATE job SET key = NULL WHERE sequence = 3", "the checksum of its request"},
    {"UPDATE job SET key = x'00' WHERE sequence = 3", "another type"},
    {"UPDATE job SET name = CAST(x'6a6f6220330041' AS TEXT) WHERE sequence = 3",
     "the checksum of its request"},
    {"UPDATE job SET tail = zeroblob(70000) WHERE sequence = 3", "a number is out of range"},
    {"UPDATE request SET request = x'00' WHERE sequence = 3", "the checksum of its request"},
    {"DELETE FROM request WHERE sequence = 3", "its request is missing"},
};

static void a_row_that_no_c4pd_writes_goes_to_quarantine_and_the_others_stay(void **state)
{
    size_t size;
    char *bytes = sample_make(&size);

    (void)state;
    for (size_t i = 0; i < sizeof(tampering) / sizeof(*tampering); i++) {
        struct troubles troubles = {0};
        struct store *store;

        sample_put(bytes, size);
        store_tamper(&scratch, tampering[i].sql);
        assert_int_equal(store_open(&store, scratch.path, on_trouble, &troubles, error),
                         STORE_OPEN);
        assert_int_equal(troubles.count, 1);
        assert_sentence(troubles.last, tampering[i].reason);
        assert_int_equal(store_quarantined(store), 1);
        assert_int_equal(store_listed(store, &any)->count, SAMPLE - 1);
        sample_check(store);
        jobs_ended(store, 1, 1);
        store_close(store);
        /* It is told once, and counted as long as it is there. */
        assert_int_equal(store_open(&store, scratch.path, on_trouble, &troubles, error),
                         STORE_OPEN);
        assert_int_equal(troubles.count, 1);
        assert_int_equal(store_quarantined(store), 1);
        store_close(store);
    }
    free(bytes);
}

static void what_is_in_quarantine_can_be_looked_at(void **state)
{
    sqlite3_stmt *statement;
    sqlite3 *db;
    size_t size;

    (void)state;
    free(sample_make(&size));
    store_tamper(&scratch, "UPDATE job SET state = 99 WHERE sequence = 3;"
                           "DELETE FROM job WHERE sequence = 5");
    store_close(store_opened(&scratch));
    require(sqlite3_open(scratch_file(&scratch, "store.db"), &db) == SQLITE_OK);
    require(sqlite3_prepare_v2(db, "SELECT reason, state, id, length(request) FROM quarantine", -1,
                               &statement, NULL) == SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0),
                        "a number is out of range");
    assert_int_equal(sqlite3_column_int(statement, 1), 99);
    assert_int_equal(sqlite3_column_int64(statement, 2), job_id(3));
    assert_int_equal(sqlite3_column_int(statement, 3), 1 + 3 * 379);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0), "its job is missing");
    assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

/* ---- killed ---- */

enum { INTENDED = 0, ACKNOWLEDGED };

/* What the writer says through the pipe, before it asks the store for something and after. */
struct word {
    uint64_t number;
    uint32_t phase, state;
};

static void word_say(int fd, uint64_t number, uint32_t phase, enum job_state state)
{
    const struct word word = {number, phase, state};

    require(write(fd, &word, sizeof(word)) == sizeof(word)); /* atomic: less than PIPE_BUF */
}

static void job_advance(struct store *store, int fd, uint64_t number, enum job_state to)
{
    int result;

    word_say(fd, number, INTENDED, to);
    if (to == JOB_QUEUED)
        result = job_submit(store, number, error);
    else if (job_state_final(to))
        result = job_end(store, number, error);
    else
        result = store_change(store, job_id(number), to, 2, 1700000000000, error);
    require(result == 0);
    word_say(fd, number, ACKNOWLEDGED, to);
}

/* Two come, one starts and ends; so the queue grows. It goes on until it is killed. */
static void writer_run(int fd, uint64_t number)
{
    struct store *store;

    require(store_open(&store, scratch.path, NULL, NULL, error) == STORE_OPEN);
    for (;; number += 2) {
        job_advance(store, fd, number, JOB_QUEUED);
        job_advance(store, fd, number + 1, JOB_QUEUED);
        job_advance(store, fd, number, JOB_STARTING);
        job_advance(store, fd, number, JOB_RUNNING);
        job_advance(store, fd, number, (enum job_state)(JOB_COMPLETED + number % 3));
        if (number % 20 == 1)
            require(store_forget(store, 4000, 0, NULL, NULL, error) == 0);
    }
}

static pid_t writer_start(int *fd, uint64_t number)
{
    pid_t pid;
    int ends[2];

    require(pipe2(ends, O_CLOEXEC) == 0);
    pid = fork();
    require(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        writer_run(ends[1], number);
    }
    close(ends[1]);
    *fd = ends[0];
    return pid;
}

#define MOST_JOBS 4096

/* What the store must say: of each job its acknowledged state, JOB_STATES if it may not be there;
 * and the one state that was asked for and not acknowledged. */
struct history {
    uint64_t last; /* number of the newest job that was asked for */
    enum job_state known[MOST_JOBS];
    uint64_t asked;
    enum job_state asked_state;
};

static void history_add(struct history *history, const struct word *word)
{
    require(word->number < MOST_JOBS);
    if (word->phase == INTENDED) {
        history->asked = word->number;
        history->asked_state = (enum job_state)word->state;
    } else {
        history->known[word->number] = (enum job_state)word->state;
        history->asked = 0;
    }
    if (word->number > history->last)
        history->last = word->number;
}

/* Every acknowledged job is there once, in order, as it was; no other is, but the one in flight. */
static void history_check(struct history *history)
{
    struct store *store = store_opened(&scratch);
    const struct listed *listed = store_listed(store, &any);
    unsigned seen = 0;

    require(store_quarantined(store) == 0);
    for (uint64_t number = 1; number <= history->last; number++) {
        bool there = seen < listed->count && listed->jobs[seen].id == job_id(number);

        if (number == history->asked && there)
            require(listed->jobs[seen].state == history->asked_state ||
                    listed->jobs[seen].state == history->known[number]);
        else if (there)
            require(listed->jobs[seen].state == history->known[number]);
        else
            require(history->known[number] == JOB_STATES);
        /* From now on this is what is known. */
        history->known[number] = there ? listed->jobs[seen].state : JOB_STATES;
        seen += there;
    }
    require(seen == listed->count);
    history->asked = 0;
    store_close(store);
}

static void kill_round(struct history *history, struct dice *dice, bool early)
{
    uint64_t words = early ? 0 : dice_below(dice, 120);
    const struct timespec moment = {0, (long)dice_below(dice, early ? 30000000 : 600000)};
    struct word word;
    int fd;
    pid_t pid = writer_start(&fd, history->last + 1);

    for (uint64_t i = 0; i < words; i++) {
        require(read(fd, &word, sizeof(word)) == sizeof(word));
        history_add(history, &word);
    }
    nanosleep(&moment, NULL); /* when it is killed is the luck of the dice: nothing waits for it */
    child_kill(pid);
    while (read(fd, &word, sizeof(word)) == sizeof(word))
        history_add(history, &word);
    close(fd);
    history_check(history);
}

static void whenever_the_daemon_is_killed_what_it_acknowledged_is_there_once(void **state)
{
    unsigned long kills = number_from_environment("C4P_KILLS", 20);
    static struct history history;
    struct dice dice = dice_seeded(first_seed());

    (void)state;
    alarm((unsigned)(60 + kills));
    seed_in_use = first_seed();
    for (unsigned long round = 0; round < kills; round++) {
        if (round == 0 || history.last > MOST_JOBS - 512 || round % 10 == 5) {
            /* A new store now and then: it may be killed while it is made, too. */
            scratch_remove(&scratch);
            scratch_make(&scratch);
            history.last = history.asked = 0;
            for (size_t i = 0; i < MOST_JOBS; i++)
                history.known[i] = JOB_STATES;
        }
        kill_round(&history, &dice, round % 5 == 0);
    }
}

int main(void)
{
#define store_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        store_test(on_a_full_disk_nothing_is_accepted_and_every_end_is_recorded),
        store_test(an_end_that_finds_no_room_is_known_at_once_and_written_later),
        store_test(on_a_full_disk_a_daemon_starts_in_the_room_that_the_last_one_reserved),
        store_test(a_disk_without_any_room_is_named_and_is_no_damage),
        store_test(a_directory_that_cannot_be_written_is_named_with_the_reason),
        store_test(a_process_that_reads_the_store_is_in_nobodys_way),
        store_test(while_another_process_writes_submissions_fail_and_ends_are_kept),
        store_test(a_store_that_was_cut_short_is_damaged_wherever_it_was_cut),
        store_test(no_flipped_byte_makes_another_job_of_one),
        store_test(a_damaged_log_is_good_up_to_the_damage),
        store_test(a_store_of_a_later_c4pd_is_left_alone),
        store_test(what_is_no_store_is_damaged),
        store_test(a_store_that_was_not_finished_is_begun_anew),
        store_test(a_row_that_no_c4pd_writes_goes_to_quarantine_and_the_others_stay),
        store_test(what_is_in_quarantine_can_be_looked_at),
        store_test(whenever_the_daemon_is_killed_what_it_acknowledged_is_there_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
