/* The store as its users see it. What becomes of it on bad disks is in test_store_faults.c. */
#include "tests/unit/store_fixture.h"

static struct scratch scratch;
static char error[STORE_ERROR_SIZE];

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

struct expected {
    uint64_t next;
    bool ended;
};

static bool expect_job(void *context, const struct store_job *job)
{
    struct expected *expected = context;

    assert_true(job_is(job, expected->next++, expected->ended));
    return true;
}

static void what_was_submitted_is_read_back_by_the_next_daemon(void **state)
{
    static const struct store_filter all = {.open = true, .with_request = true, .with_end = true};
    struct expected expected = {1, false};
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 30);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_list(store, &all, expect_job, &expected, error), 0);
    assert_int_equal(expected.next, 31);
    store_close(store);
}

static void an_end_is_read_back_with_all_that_was_said(void **state)
{
    static const struct store_filter all = {.ended = true, .with_request = true, .with_end = true};
    struct expected expected = {1, true};
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 9);
    jobs_ended(store, 1, 9);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_list(store, &all, expect_job, &expected, error), 0);
    assert_int_equal(expected.next, 10);
    store_close(store);
}

static bool take_copy(void *context, const struct store_job *job)
{
    memcpy(context, job, sizeof(*job));
    return false;
}

static struct store_job job_read(struct store *store, uint64_t id)
{
    const struct store_filter one = {.id_low = id, .id_high = id};
    struct store_job job = {0};

    assert_int_equal(store_list(store, &one, take_copy, &job, error), 0);
    return job;
}

static void the_start_is_when_it_first_had_its_pes(void **state)
{
    struct store *store = store_opened(&scratch);
    struct store_job job;

    (void)state;
    jobs_submitted(store, 1, 1);
    assert_int_equal(store_change(store, job_id(1), JOB_RESERVING, 3, 1000, error), 0);
    assert_int_equal(job_read(store, job_id(1)).started, 0);
    assert_int_equal(store_change(store, job_id(1), JOB_STARTING, 3, 2000, error), 0);
    assert_int_equal(store_change(store, job_id(1), JOB_RUNNING, 3, 3000, error), 0);
    job = job_read(store, job_id(1));
    assert_int_equal(job.state, JOB_RUNNING);
    assert_int_equal(job.started, 2000);
    assert_int_equal(job.pes, 3);
    jobs_ended(store, 1, 1);
    store_close(store);
    /* Each of these rows passes the checks of the next daemon. */
    store = store_opened(&scratch);
    assert_int_equal(store_quarantined(store), 0);
    job = job_read(store, job_id(1));
    assert_int_equal(job.state, JOB_FAILED);
    assert_int_equal(job.started, 2000);
    assert_int_equal(job.pes, 3);
    store_close(store);
}

/* ---- where a job runs ---- */

struct place {
    const char *hosts;
    bool found;
};

static bool expect_hosts(void *context, const struct store_job *job)
{
    struct place *place = context;

    place->found = true;
    assert_int_equal(job->hosts_size, strlen(place->hosts));
    assert_memory_equal(job->hosts_size > 0 ? job->hosts : "", place->hosts, strlen(place->hosts));
    return false;
}

/* `hosts` empty: on one, or not known. */
static void assert_hosts(struct store *store, uint64_t number, const char *hosts)
{
    const struct store_filter one = {
        .id_low = job_id(number), .id_high = job_id(number), .with_request = true};
    struct place place = {hosts, false};

    assert_int_equal(store_list(store, &one, expect_hosts, &place, error), 0);
    assert_true(place.found);
}

static int start_on(struct store *store, uint64_t number, const char *hosts)
{
    return store_start(store, job_id(number), 4, hosts, strlen(hosts), 2000, error);
}

static void where_a_job_ran_is_known_until_it_is_forgotten(void **state)
{
    struct store *store = store_opened(&scratch);
    int64_t left = -1;

    (void)state;
    jobs_submitted(store, 1, 3);
    assert_int_equal(start_on(store, 1, "alpha and beta"), 0);
    assert_int_equal(start_on(store, 2, ""), 0);
    assert_int_equal(job_read(store, job_id(1)).state, JOB_STARTING);
    assert_int_equal(job_read(store, job_id(1)).started, 2000);
    jobs_ended(store, 1, 2);
    assert_int_equal(start_on(store, 1, "elsewhere"), -1);
    store_close(store);
    store = store_opened(&scratch);
    assert_hosts(store, 1, "alpha and beta");
    assert_hosts(store, 2, "");
    assert_hosts(store, 3, "");
    assert_int_equal(store_forget(store, 0, 0, NULL, NULL, error), 2);
    assert_int_equal(store_quarantined(store), 0);
    store_close(store);
    store_count(&scratch, "SELECT count(*) FROM hosts", &left);
    assert_int_equal(left, 0);
}

static void what_is_damaged_of_where_it_ran_is_dropped_and_told_and_the_job_stays(void **state)
{
    struct troubles troubles = {0};
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 4);
    for (uint64_t number = 1; number <= 4; number++)
        assert_int_equal(start_on(store, number, "alpha and beta"), 0);
    store_close(store);
    store_tamper(&scratch, "UPDATE hosts SET hosts = x'00' WHERE sequence = 2;"
                           "UPDATE hosts SET checksum = 'none' WHERE sequence = 3;"
                           "INSERT INTO hosts VALUES (77, 1, x'01')");
    require(store_open(&store, scratch.path, on_trouble, &troubles, error) == STORE_OPEN);
    assert_int_equal(troubles.count, 2);
    assert_sentence(troubles.last, "where job number 3 ran was damaged");
    assert_int_equal(store_quarantined(store), 0);
    assert_hosts(store, 1, "alpha and beta");
    assert_hosts(store, 2, "");
    assert_hosts(store, 3, "");
    assert_hosts(store, 4, "alpha and beta");
    store_close(store);
}

/* What version 1 was: this one without the table of hosts. */
static void a_store_of_the_last_version_is_brought_up_with_all_its_jobs(void **state)
{
    static const struct store_filter over = {.ended = true, .with_request = true, .with_end = true};
    static const struct store_filter open = {.open = true, .with_request = true, .with_end = true};
    struct expected ended = {1, true}, waiting = {10, false};
    struct store *store = store_opened(&scratch);
    int64_t version = 0;

    (void)state;
    jobs_submitted(store, 1, 19);
    jobs_ended(store, 1, 9);
    store_close(store);
    store_tamper(&scratch, "DROP TABLE hosts; PRAGMA user_version = 1");
    store = store_opened(&scratch);
    assert_int_equal(store_quarantined(store), 0);
    assert_int_equal(store_list(store, &over, expect_job, &ended, error), 0);
    assert_int_equal(store_list(store, &open, expect_job, &waiting, error), 0);
    assert_int_equal(ended.next, 10);
    assert_int_equal(waiting.next, 20);
    assert_int_equal(start_on(store, 10, "alpha and beta"), 0);
    store_close(store);
    store = store_opened(&scratch);
    assert_hosts(store, 9, "");
    assert_hosts(store, 10, "alpha and beta");
    store_close(store);
    store_count(&scratch, "PRAGMA user_version", &version);
    assert_int_equal(version, STORE_VERSION);
}

static void what_is_over_or_unknown_does_not_change(void **state)
{
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 2);
    jobs_ended(store, 1, 1);
    assert_int_equal(store_change(store, job_id(1), JOB_RUNNING, 1, 1, error), -1);
    assert_sentence(error, "is over, or not known");
    assert_int_equal(job_end(store, 1, error), -1);
    assert_int_equal(job_end(store, 77, error), -1);
    assert_int_equal(store_change(store, job_id(2), JOB_FAILED, 1, 1, error), -1);
    assert_sentence(error, "an end has more to it");
    assert_int_equal(job_read(store, job_id(2)).state, JOB_QUEUED);
    store_close(store);
}

static void an_id_and_a_key_are_there_once_and_no_key_may_be_there_often(void **state)
{
    struct store *store = store_opened(&scratch);
    struct job_bytes bytes;
    struct store_job job;

    (void)state;
    jobs_submitted(store, 1, 1);
    assert_int_equal(job_submit(store, 1, error), -1);
    assert_sentence(error, "is there already");
    job_make(2, false, &job, &bytes);
    memset(job.key, 0, sizeof(job.key));
    assert_int_equal(store_submit(store, &job, error), 0);
    job.id = job_id(3);
    assert_int_equal(store_submit(store, &job, error), 0);
    job_make(1, false, &job, &bytes);
    job.id = job_id(4); /* the key is that of the first */
    assert_int_equal(store_submit(store, &job, error), -1);
    assert_int_equal(store_listed(store, &(struct store_filter){0})->count, 3);
    store_close(store);
}

static void what_no_job_can_be_is_refused(void **state)
{
    struct store *store = store_opened(&scratch);
    char *large = calloc(1, CONTROL_MAX_MESSAGE + 1);
    struct job_bytes bytes;
    struct store_job job;

    (void)state;
    job_make(1, false, &job, &bytes);
    job.id = 0;
    assert_int_equal(store_submit(store, &job, error), -1);
    job.id = UINT64_C(1) << CONTROL_ID_BITS;
    assert_int_equal(store_submit(store, &job, error), -1);
    job.id = 1;
    job.request = large;
    job.request_size = CONTROL_MAX_MESSAGE + 1;
    assert_int_equal(store_submit(store, &job, error), -1);
    job.request_size--;
    assert_int_equal(store_submit(store, &job, error), 0);
    store_close(store);
    store_close(store_opened(&scratch));
    free(large);
}

static void long_last_words_are_cut_the_tail_at_its_beginning(void **state)
{
    struct store *store = store_opened(&scratch);
    const struct store_filter all = {.with_end = true};
    char *large = malloc(3 * STORE_MAX_TEXT);
    struct job_bytes bytes;
    struct store_job job;

    (void)state;
    memset(large, 'a', 3 * STORE_MAX_TEXT);
    large[3 * STORE_MAX_TEXT - 1] = '\0';
    large[3 * STORE_MAX_TEXT - 2] = 'z';
    jobs_submitted(store, 1, 1);
    job_make(1, true, &job, &bytes);
    job.message = job.tail = job.text = large;
    job.tail_size = job.text_size = 3 * STORE_MAX_TEXT - 1;
    assert_int_equal(store_end(store, &job, error), 0);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_quarantined(store), 0);
    assert_int_equal(store_list(store, &all, take_copy, &job, error), 0);
    assert_int_equal(job.tail_size, STORE_MAX_TEXT);
    assert_int_equal(job.text_size, STORE_MAX_TEXT);
    store_close(store);
    free(large);
}

/* ---- questions ---- */

static void assert_listed(struct store *store, const struct store_filter *filter, unsigned count,
                          uint64_t first, uint64_t last)
{
    const struct listed *listed = store_listed(store, filter);

    assert_int_equal(listed->count, count);
    if (count > 0) {
        assert_int_equal(listed->jobs[0].id, job_id(first));
        assert_int_equal(listed->jobs[count - 1].id, job_id(last));
    }
}

static void a_list_has_what_was_asked_for_in_the_order_of_submission(void **state)
{
    struct store *store = store_opened(&scratch);
    uint8_t key[CONTROL_KEY_SIZE] = {5, [15] = 1};
    uint64_t low, high;
    char id[CONTROL_ID_CHARS + 1];

    (void)state;
    jobs_submitted(store, 1, 12);
    jobs_ended(store, 5, 8);
    assert_listed(store, &(struct store_filter){0}, 12, 1, 12);
    assert_listed(store, &(struct store_filter){.open = true, .ended = true}, 12, 1, 12);
    assert_listed(store, &(struct store_filter){.open = true}, 8, 1, 12);
    assert_listed(store, &(struct store_filter){.ended = true}, 4, 5, 8);
    assert_listed(store, &(struct store_filter){.ended = true, .last = 2}, 2, 7, 8);
    assert_listed(store, &(struct store_filter){.after = 9}, 3, 10, 12);
    assert_listed(store, &(struct store_filter){.after = 6, .ended = true}, 2, 7, 8);
    assert_listed(store, &(struct store_filter){.after = 4, .last = 3}, 3, 10, 12);
    assert_listed(store, &(struct store_filter){.after = 11, .last = 3}, 1, 12, 12);
    assert_listed(store, &(struct store_filter){.after = 12}, 0, 0, 0);
    assert_listed(store, &(struct store_filter){.after = UINT64_MAX}, 0, 0, 0);
    assert_listed(store, &(struct store_filter){.sessions_only = true}, 3, 4, 12);
    assert_listed(store, &(struct store_filter){.name = "job 7"}, 1, 7, 7);
    assert_listed(store, &(struct store_filter){.name = "job"}, 0, 0, 0);
    assert_listed(store, &(struct store_filter){.key = key}, 1, 5, 5);
    assert_listed(store, &(struct store_filter){.key = key, .open = true}, 0, 0, 0);
    control_id_format(job_id(9), id);
    assert_true(control_id_parse(id, &low, &high));
    assert_listed(store, &(struct store_filter){.id_low = low, .id_high = high}, 1, 9, 9);
    store_close(store);
}

static bool ask_again(void *context, const struct store_job *job)
{
    struct store *store = context;

    assert_listed(store, &(struct store_filter){.id_low = job->id, .id_high = job->id}, 1, 1, 1);
    return false;
}

static void who_is_called_with_a_row_may_ask_for_another(void **state)
{
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 2);
    assert_int_equal(
        store_list(store, &(struct store_filter){.open = true}, ask_again, store, error), 0);
    store_close(store);
}

/* ---- forgetting ---- */

struct forgotten {
    struct store *store;
    unsigned count;
    uint64_t ids[1024];
};

static void note_forgotten(void *context, uint64_t id)
{
    struct forgotten *forgotten = context;

    assert_listed(forgotten->store, &(struct store_filter){.id_low = id, .id_high = id}, 0, 0, 0);
    forgotten->ids[forgotten->count++] = id;
}

static void only_the_newest_ends_are_kept_and_open_jobs_always(void **state)
{
    struct store *store = store_opened(&scratch);
    struct forgotten forgotten = {.store = store};

    (void)state;
    jobs_submitted(store, 1, 10);
    jobs_ended(store, 3, 10);
    assert_int_equal(store_forget(store, 3, 0, note_forgotten, &forgotten, error), 5);
    assert_int_equal(forgotten.count, 5);
    assert_int_equal(forgotten.ids[0], job_id(3));
    assert_int_equal(forgotten.ids[4], job_id(7));
    assert_listed(store, &(struct store_filter){.ended = true}, 3, 8, 10);
    assert_listed(store, &(struct store_filter){.open = true}, 2, 1, 2);
    assert_int_equal(store_forget(store, 3, 0, note_forgotten, &forgotten, error), 0);
    assert_int_equal(store_forget(store, 0, 0, NULL, NULL, error), 3);
    store_close(store);
    store = store_opened(&scratch);
    assert_int_equal(store_quarantined(store), 0); /* nor is a request left */
    assert_listed(store, &(struct store_filter){0}, 2, 1, 2);
    store_close(store);
}

static void what_ended_long_ago_is_forgotten_however_few_they_are(void **state)
{
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 4);
    jobs_ended(store, 1, 4); /* job n ended at 1700000005000 + n */
    assert_int_equal(store_forget(store, 100, 1700000005003, NULL, NULL, error), 2);
    assert_listed(store, &(struct store_filter){0}, 2, 3, 4);
    store_close(store);
}

static void many_are_forgotten_in_several_goes(void **state)
{
    struct store *store = store_opened(&scratch);
    static struct forgotten forgotten;

    (void)state;
    forgotten.store = store;
    jobs_submitted(store, 1, 600);
    jobs_ended(store, 1, 600);
    assert_int_equal(store_forget(store, 10, 0, note_forgotten, &forgotten, error), 590);
    assert_int_equal(forgotten.count, 590);
    assert_listed(store, &(struct store_filter){0}, 10, 591, 600);
    store_close(store);
}

/* ---- files ---- */

static mode_t mode_of(const char *name)
{
    struct stat status;

    assert_int_equal(stat(scratch_file(&scratch, name), &status), 0);
    return status.st_mode & 0777;
}

static void nobody_else_can_read_its_files(void **state)
{
    mode_t mask = umask(0);
    struct store *store = store_opened(&scratch);

    (void)state;
    jobs_submitted(store, 1, 1);
    assert_int_equal(mode_of("store.db"), 0600);
    assert_int_equal(mode_of("store.db-wal"), 0600);
    assert_int_equal(mode_of("store.db-shm"), 0600);
    assert_int_equal(mode_of("store.reserve"), 0600);
    store_close(store);
    assert_int_equal(chmod(scratch_file(&scratch, "store.db"), 0644), 0);
    store_close(store_opened(&scratch));
    assert_int_equal(mode_of("store.db"), 0600);
    umask(mask);
}

static void a_damaged_store_is_set_aside_with_all_its_parts(void **state)
{
    struct store *store = store_opened(&scratch);
    char to[STORE_ERROR_SIZE], second[STORE_ERROR_SIZE], name[STORE_ERROR_SIZE + 8];

    (void)state;
    jobs_submitted(store, 1, 1);
    store_close(store);
    scratch_write(&scratch, "store.db-wal", "log", 3);
    assert_int_equal(store_set_aside(scratch.path, to), 0);
    assert_non_null(strstr(to, "/store.db.damaged-2"));
    assert_int_equal(access(to, F_OK), 0);
    snprintf(name, sizeof(name), "%s-wal", to);
    assert_int_equal(access(name, F_OK), 0);
    assert_int_equal(access(scratch_file(&scratch, "store.db-wal"), F_OK), -1);
    /* A new one takes its place, and may be damaged within the same second. */
    store = store_opened(&scratch);
    assert_listed(store, &(struct store_filter){0}, 0, 0, 0);
    store_close(store);
    assert_int_equal(store_set_aside(scratch.path, second), 0);
    assert_string_not_equal(to, second);
    assert_int_equal(access(to, F_OK), 0);
}

static void a_missing_directory_is_named(void **state)
{
    struct store *store;
    char path[PATH_MAX + 16];

    (void)state;
    snprintf(path, sizeof(path), "%s/none", scratch.path);
    assert_int_equal(store_open(&store, path, NULL, NULL, error), STORE_TRANSIENT);
    assert_null(store);
    assert_sentence(error, "/none: jobs cannot be recorded there: No such file or directory");
    scratch_write(&scratch, "none", "", 0);
    assert_int_equal(store_open(&store, path, NULL, NULL, error), STORE_TRANSIENT);
    assert_sentence(error, "Not a directory");
    store_close(NULL);
}

int main(void)
{
#define store_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        store_test(what_was_submitted_is_read_back_by_the_next_daemon),
        store_test(an_end_is_read_back_with_all_that_was_said),
        store_test(the_start_is_when_it_first_had_its_pes),
        store_test(where_a_job_ran_is_known_until_it_is_forgotten),
        store_test(what_is_damaged_of_where_it_ran_is_dropped_and_told_and_the_job_stays),
        store_test(a_store_of_the_last_version_is_brought_up_with_all_its_jobs),
        store_test(what_is_over_or_unknown_does_not_change),
        store_test(an_id_and_a_key_are_there_once_and_no_key_may_be_there_often),
        store_test(what_no_job_can_be_is_refused),
        store_test(long_last_words_are_cut_the_tail_at_its_beginning),
        store_test(a_list_has_what_was_asked_for_in_the_order_of_submission),
        store_test(who_is_called_with_a_row_may_ask_for_another),
        store_test(only_the_newest_ends_are_kept_and_open_jobs_always),
        store_test(what_ended_long_ago_is_forgotten_however_few_they_are),
        store_test(many_are_forgotten_in_several_goes),
        store_test(nobody_else_can_read_its_files),
        store_test(a_damaged_store_is_set_aside_with_all_its_parts),
        store_test(a_missing_directory_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
