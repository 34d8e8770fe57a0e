/* What a node believes of a Prepare: it came from another node, which may be anybody's by now. And
 * what people are told when two nodes of a job part. */
#include "tests/unit/unit.h"

#include "daemon/jobs/span.h"

static struct node_key keys[3] = {{{1}}, {{2}}, {{3}}};
static C4p__JobNode nodes[3], *list[3];
static C4p__Prepare prepare;

static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

static int set_up(void **state)
{
    static uint8_t secret[PLANE_SECRET_SIZE];

    c4p__prepare__init(&prepare);
    for (uint32_t i = 0; i < 3; i++) {
        c4p__job_node__init(&nodes[i]);
        nodes[i].key = (ProtobufCBinaryData){NODE_KEY_SIZE, keys[i].bytes};
        nodes[i].name = borrowed("host");
        nodes[i].data = borrowed(i == 2 ? "tcp://[fe80::1]:7228" : "tcp://10.0.0.1:7228");
        nodes[i].first_pe = 2 * i;
        nodes[i].pes = 2;
        list[i] = &nodes[i];
    }
    prepare.job = 7;
    prepare.node = 1;
    prepare.nodes = list;
    prepare.n_nodes = 3;
    prepare.secret = (ProtobufCBinaryData){sizeof(secret), secret};
    return watchdog_start(state);
}

static bool is_taken(void)
{
    struct span_identity identity;
    char error[JOB_ERROR_SIZE] = "";
    uint32_t pes;
    struct job_node *read = span_read(&prepare, &keys[1], &pes, &identity, error);

    if (read == NULL)
        assert_non_null(strstr(error, "makes no sense"));
    else
        assert_int_equal(pes, 6);
    free(read);
    return read != NULL;
}

static void what_is_right_is_taken(void **state)
{
    (void)state;
    assert_true(is_taken());
}

static void addresses_are_numbers_on_tcp(void **state)
{
    static const char *const bad[] = {"",
                                      "10.0.0.1:7228",
                                      "ipc:///run/c4pd",
                                      "inproc://zeromq.zap.01",
                                      "tcp://name.of.a.host:7228",
                                      "tcp://10.0.0.1",
                                      "tcp://10.0.0.1:0",
                                      "tcp://*:7228",
                                      "pgm://10.0.0.1;239.0.0.1:7228",
                                      "tcp://10.0.0.1:7228;10.0.0.2:7228"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        nodes[2].data = borrowed(bad[i]);
        assert_false(is_taken());
    }
}

static void numbers_that_cannot_be_are_refused(void **state)
{
    uint32_t *const numbers[] = {&prepare.node, &nodes[1].first_pe, &nodes[2].pes};
    static const uint32_t bad[] = {UINT32_MAX, 1u << 31, 3000000};

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++) {
            uint32_t right = *numbers[i];

            *numbers[i] = bad[k];
            assert_false(is_taken());
            *numbers[i] = right;
        }
    prepare.node = 0; /* that is the home */
    assert_false(is_taken());
    prepare.node = 2; /* that is another node */
    assert_false(is_taken());
    prepare.node = 1;
    nodes[1].pes = 0;
    nodes[2].first_pe = 2;
    assert_false(is_taken());
}

static void keys_and_secrets_have_their_sizes(void **state)
{
    (void)state;
    nodes[2].key.len = NODE_KEY_SIZE - 1;
    assert_false(is_taken());
    nodes[2].key.len = NODE_KEY_SIZE;
    prepare.secret.len--;
    assert_false(is_taken());
    prepare.secret.len++;
    prepare.n_nodes = 1;
    assert_false(is_taken());
    prepare.n_nodes = 1u << 20;
    assert_false(is_taken());
}

/* ---- what people are told ---- */

static struct job_node node_called(const char *name, uint32_t pes)
{
    struct job_node node = {.first_pe = 2, .pes = pes};

    snprintf(node.name, sizeof(node.name), "%s", name);
    return node;
}

static void a_gap_between_two_nodes_names_both_and_says_what_to_do(void **state)
{
    static const char why[] = "what it sent was lost on the way (submit the job again)";
    struct job_node lost = node_called("b", 2), seen = node_called("a", 2);
    char text[JOB_ERROR_SIZE], longest[NODE_NAME_MAX + 1];

    (void)state;
    span_lost_tell(&lost, &seen, why, text);
    assert_string_equal(text, "node b was lost to node a while it ran PEs 2-3 of this job: what it "
                              "sent was lost on the way (submit the job again)");
    span_lost_tell(&lost, NULL, "it cannot be reached", text);
    assert_string_equal(text, "node b was lost while it ran PEs 2-3 of this job: it cannot be "
                              "reached");
    /* However long their names are. */
    memset(longest, 'n', NODE_NAME_MAX);
    longest[NODE_NAME_MAX] = '\0';
    lost = node_called(longest, 1000);
    seen = node_called(longest, 1000);
    span_lost_tell(&lost, &seen, why, text);
    assert_non_null(strstr(text, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_right_is_taken, set_up, watchdog_stop),
        cmocka_unit_test_setup_teardown(addresses_are_numbers_on_tcp, set_up, watchdog_stop),
        cmocka_unit_test_setup_teardown(numbers_that_cannot_be_are_refused, set_up, watchdog_stop),
        cmocka_unit_test_setup_teardown(keys_and_secrets_have_their_sizes, set_up, watchdog_stop),
        watched_test(a_gap_between_two_nodes_names_both_and_says_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
