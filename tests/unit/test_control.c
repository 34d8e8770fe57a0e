#include "tests/unit/unit.h"

#include "daemon/control/control.h"

/* ---- golden bytes: written by hand from control.proto ---- */

struct golden {
    const char *bytes;
    size_t size;
};

#define GOLDEN(text)                                                                               \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static void assert_packed(const ProtobufCMessage *message, struct golden golden)
{
    uint8_t bytes[256];
    size_t size = protobuf_c_message_get_packed_size(message);

    assert_true(size <= sizeof(bytes));
    protobuf_c_message_pack(message, bytes);
    assert_int_equal(size, golden.size);
    assert_memory_equal(bytes, golden.bytes, size);
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void assert_request(C4p__Request__BodyCase body, void *message, struct golden golden)
{
    C4p__Request request = C4P__REQUEST__INIT;
    C4p__Request *back;

    request.id = 7;
    request.body_case = body;
    request.hello = message;
    assert_packed(&request.base, golden);
    back = c4p__request__unpack(NULL, golden.size, (const uint8_t *)golden.bytes);
    assert_non_null(back);
    assert_int_equal(back->id, 7);
    assert_int_equal(back->body_case, body);
    c4p__request__free_unpacked(back, NULL);
}

static void assert_event(uint64_t id, C4p__Event__BodyCase body, void *message,
                         struct golden golden)
{
    C4p__Event event = C4P__EVENT__INIT;
    C4p__Event *back;

    event.id = id;
    event.body_case = body;
    event.welcome = message;
    assert_packed(&event.base, golden);
    back = c4p__event__unpack(NULL, golden.size, (const uint8_t *)golden.bytes);
    assert_non_null(back);
    assert_int_equal(back->body_case, body);
    c4p__event__free_unpacked(back, NULL);
}

static void requests_have_the_bytes_of_their_specification(void **state)
{
    C4p__Hello hello = C4P__HELLO__INIT;
    C4p__Submit submit = C4P__SUBMIT__INIT;
    C4p__Follow follow = C4P__FOLLOW__INIT;
    C4p__Input input = C4P__INPUT__INIT;
    C4p__OutputAck ack = C4P__OUTPUT_ACK__INIT;
    C4p__Cancel cancel = C4P__CANCEL__INIT;
    ProtobufCBinaryData argv[] = {bytes_of("py"), bytes_of("\xff")}, env[] = {bytes_of("A=1")};

    (void)state;
    hello.min_version = 1;
    hello.max_version = 300;
    hello.name = (char *)(uintptr_t) "me";
    assert_request(C4P__REQUEST__BODY_HELLO, &hello,
                   (struct golden)GOLDEN("\x08\x07\x12\x09"
                                         "\x08\x01\x10\xac\x02\x1a\x02me"));
    submit.n_argv = 2;
    submit.argv = argv;
    submit.cwd = bytes_of("/");
    submit.n_env = 1;
    submit.env = env;
    submit.pes = 4;
    submit.region_size = 1 << 22;
    submit.follow = true;
    assert_request(C4P__REQUEST__BODY_SUBMIT, &submit,
                   (struct golden)GOLDEN("\x08\x07\x1a\x18"
                                         "\x0a\x02py\x0a\x01\xff"
                                         "\x12\x01/\x1a\x03"
                                         "A=1\x20\x04\x28\x80\x80\x80\x02\x30\x01"));
    follow.job = 3;
    assert_request(C4P__REQUEST__BODY_FOLLOW, &follow,
                   (struct golden)GOLDEN("\x08\x07\x22\x02\x08\x03"));
    input.job = 3;
    input.data = bytes_of("hi\n");
    input.eof = true;
    assert_request(C4P__REQUEST__BODY_INPUT, &input,
                   (struct golden)GOLDEN("\x08\x07\x2a\x09"
                                         "\x08\x03\x12\x03hi\n\x18\x01"));
    ack.job = 3;
    ack.sequence = 16;
    assert_request(C4P__REQUEST__BODY_OUTPUT_ACK, &ack,
                   (struct golden)GOLDEN("\x08\x07\x32\x04\x08\x03\x10\x10"));
    cancel.job = 3;
    cancel.kill = true;
    assert_request(C4P__REQUEST__BODY_CANCEL, &cancel,
                   (struct golden)GOLDEN("\x08\x07\x3a\x04\x08\x03\x10\x01"));
}

static void answers_have_the_bytes_of_their_specification(void **state)
{
    C4p__Welcome welcome = C4P__WELCOME__INIT;
    C4p__Refused refused = C4P__REFUSED__INIT;
    C4p__Accepted accepted = C4P__ACCEPTED__INIT;
    C4p__Following following = C4P__FOLLOWING__INIT;

    (void)state;
    welcome.version = 1;
    welcome.incarnation = 5;
    welcome.host = (char *)(uintptr_t) "vm";
    assert_event(7, C4P__EVENT__BODY_WELCOME, &welcome,
                 (struct golden)GOLDEN("\x08\x07\x12\x08"
                                       "\x08\x01\x10\x05\x1a\x02vm"));
    refused.reason = (char *)(uintptr_t) "no";
    assert_event(7, C4P__EVENT__BODY_REFUSED, &refused,
                 (struct golden)GOLDEN("\x08\x07\x1a\x04\x0a\x02no"));
    accepted.job = 3;
    assert_event(7, C4P__EVENT__BODY_ACCEPTED, &accepted,
                 (struct golden)GOLDEN("\x08\x07\x22\x02\x08\x03"));
    following.job = 3;
    assert_event(7, C4P__EVENT__BODY_FOLLOWING, &following,
                 (struct golden)GOLDEN("\x08\x07\x2a\x02\x08\x03"));
}

static void events_of_a_job_have_the_bytes_of_their_specification(void **state)
{
    C4p__State changed = C4P__STATE__INIT;
    C4p__Output output = C4P__OUTPUT__INIT;
    C4p__InputCredit credit = C4P__INPUT_CREDIT__INIT;
    C4p__Ended ended = C4P__ENDED__INIT;

    (void)state;
    changed.job = 3;
    changed.state = C4P__JOB_STATE__RUNNING;
    assert_event(0, C4P__EVENT__BODY_STATE, &changed,
                 (struct golden)GOLDEN("\x32\x04\x08\x03\x10\x04"));
    output.job = 3;
    output.pe = CONTROL_NO_PE;
    output.stream = C4P__STREAM__STDERR;
    output.sequence = 9;
    output.data = bytes_of("x\n");
    assert_event(0, C4P__EVENT__BODY_OUTPUT, &output,
                 (struct golden)GOLDEN("\x3a\x10\x08\x03\x10\xff\xff\xff\xff\x0f"
                                       "\x18\x01\x20\x09\x2a\x02x\n"));
    credit.job = 3;
    credit.bytes = 65536;
    credit.closed = true;
    assert_event(0, C4P__EVENT__BODY_INPUT_CREDIT, &credit,
                 (struct golden)GOLDEN("\x42\x08\x08\x03\x10\x80\x80\x04\x18\x01"));
    ended.job = 3;
    ended.state = C4P__JOB_STATE__FAILED;
    ended.exit_code = -1;
    ended.message = (char *)(uintptr_t) "m";
    ended.tail = bytes_of("t");
    ended.text = bytes_of("u");
    assert_event(0, C4P__EVENT__BODY_ENDED, &ended,
                 (struct golden)GOLDEN("\x4a\x18\x08\x03\x10\x06"
                                       "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                       "\x22\x01m\x2a\x01t\x32\x01u"));
}

static void fields_that_are_not_known_are_ignored(void **state)
{
    static const uint8_t bytes[] = "\x08\x07\xf2\x3f\x02zz\x12\x04\x08\x01\x10\x01";
    C4p__Request *request = c4p__request__unpack(NULL, sizeof(bytes) - 1, bytes);

    (void)state;
    assert_non_null(request);
    assert_int_equal(request->body_case, C4P__REQUEST__BODY_HELLO);
    assert_int_equal(request->hello->max_version, 1);
    c4p__request__free_unpacked(request, NULL);
}

static void the_highest_version_that_both_speak_is_chosen(void **state)
{
    (void)state;
    assert_int_equal(control_version_choose(1, 1), 1);
    assert_int_equal(control_version_choose(0, 100), CONTROL_MAX_VERSION);
    assert_int_equal(control_version_choose(CONTROL_MAX_VERSION + 1, 100), 0);
    assert_int_equal(control_version_choose(0, CONTROL_MIN_VERSION - 1), 0);
    assert_int_equal(control_version_choose(5, 1), 0);
}

/* ---- the daemon's end, with a service that notes what it is asked ---- */

static struct {
    char asked[64];
    char answers[64]; /* a letter for each event: its kind */
    char reason[CONTROL_REASON_SIZE];
    uint64_t id;
    bool unwilling;
} heard;

static int note(const char *what, char reason[CONTROL_REASON_SIZE])
{
    strcat(heard.asked, what);
    if (heard.unwilling)
        snprintf(reason, CONTROL_REASON_SIZE, "not willing");
    return heard.unwilling ? -1 : 0;
}

static int note_submit(void *context, struct control_peer *peer, const C4p__Submit *submit,
                       uint64_t *job, char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)submit;
    *job = 3;
    return note("S", reason);
}

static int note_follow(void *context, struct control_peer *peer, uint64_t job,
                       char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer;
    assert_int_equal(job, 3);
    return note("F", reason);
}

static int note_input(void *context, struct control_peer *peer, const C4p__Input *input,
                      char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)input;
    return note("I", reason);
}

static int note_ack(void *context, struct control_peer *peer, uint64_t job, uint64_t sequence,
                    char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)sequence;
    return note("O", reason);
}

static int note_cancel(void *context, struct control_peer *peer, uint64_t job, bool kill,
                       char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)kill;
    return note("C", reason);
}

static void note_greeted(void *context, struct control_peer *peer)
{
    (void)context, (void)peer;
    strcat(heard.asked, "H");
}

static void note_flow(void *context, uint64_t job)
{
    (void)context, (void)job;
    strcat(heard.asked, ">");
}

static void note_send(void *context, const void *identity, size_t identity_size, const void *data,
                      size_t size)
{
    static const char letters[] = "??WRAF";
    C4p__Event *event = c4p__event__unpack(NULL, size, data);

    (void)context, (void)identity, (void)identity_size;
    assert_non_null(event);
    heard.id = event->id;
    strncat(heard.answers, &letters[event->body_case], 1);
    if (event->body_case == C4P__EVENT__BODY_REFUSED)
        snprintf(heard.reason, sizeof(heard.reason), "%s", event->refused->reason);
    c4p__event__free_unpacked(event, NULL);
}

static struct control *control_begin(void)
{
    static const struct control_service service = {
        note_submit,  note_follow, note_input, note_ack, note_cancel,
        note_greeted, note_flow,   note_send,  NULL,
    };
    struct control *control = control_create(&service, 5, "vm");

    memset(&heard, 0, sizeof(heard));
    assert_non_null(control);
    return control;
}

static void ask(struct control *control, const char *who, C4p__Request__BodyCase body,
                void *message)
{
    C4p__Request request = C4P__REQUEST__INIT;
    uint8_t bytes[256];

    request.id = 11;
    request.body_case = body;
    request.hello = message;
    control_receive(control, who, strlen(who), bytes, c4p__request__pack(&request, bytes));
}

static void say_hello(struct control *control, const char *who, uint32_t min, uint32_t max)
{
    C4p__Hello hello = C4P__HELLO__INIT;

    hello.min_version = min;
    hello.max_version = max;
    ask(control, who, C4P__REQUEST__BODY_HELLO, &hello);
}

/* Answers to all requests since the last time, by their letters; then forget them. */
static void assert_heard(const char *asked, const char *answers)
{
    assert_string_equal(heard.asked, asked);
    assert_string_equal(heard.answers, answers);
    heard.asked[0] = heard.answers[0] = '\0';
}

static void requests_reach_the_service_after_hello(void **state)
{
    struct control *control = control_begin();
    C4p__Submit submit = C4P__SUBMIT__INIT;
    C4p__Follow follow = C4P__FOLLOW__INIT;
    C4p__Input input = C4P__INPUT__INIT;
    C4p__OutputAck ack = C4P__OUTPUT_ACK__INIT;
    C4p__Cancel cancel = C4P__CANCEL__INIT;

    (void)state;
    say_hello(control, "me", 1, 1);
    assert_heard("H", "W");
    assert_int_equal(heard.id, 11);
    ask(control, "me", C4P__REQUEST__BODY_SUBMIT, &submit);
    assert_heard("S>", "A");
    submit.follow = true;
    ask(control, "me", C4P__REQUEST__BODY_SUBMIT, &submit);
    assert_heard("SF>", "AF");
    follow.job = 3;
    ask(control, "me", C4P__REQUEST__BODY_FOLLOW, &follow);
    assert_heard("F>", "F");
    ask(control, "me", C4P__REQUEST__BODY_INPUT, &input);
    ask(control, "me", C4P__REQUEST__BODY_OUTPUT_ACK, &ack);
    ask(control, "me", C4P__REQUEST__BODY_CANCEL, &cancel);
    assert_heard("IOC", "");
    assert_int_equal(control_refused(control), 0);
    control_destroy(control);
}

static void what_comes_before_hello_is_refused(void **state)
{
    struct control *control = control_begin();
    C4p__Cancel cancel = C4P__CANCEL__INIT;

    (void)state;
    say_hello(control, "me", 1, 1);
    assert_heard("H", "W");
    ask(control, "you", C4P__REQUEST__BODY_CANCEL, &cancel);
    assert_heard("", "R");
    assert_string_equal(heard.reason, "Cancel came before Hello: say Hello first");
    assert_int_equal(heard.id, 11);
    control_destroy(control);
}

static void a_client_of_another_version_is_told_both_ranges(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me", 8, 9);
    assert_heard("", "R");
    assert_string_equal(heard.reason, "this daemon speaks versions 1 to 1 of the control protocol, "
                                      "the client 8 to 9: use a client of the same release");
    control_destroy(control);
}

static void what_is_no_request_is_refused_and_counted(void **state)
{
    struct control *control = control_begin();
    static uint8_t large[CONTROL_MAX_MESSAGE + 1];

    (void)state;
    say_hello(control, "me", 1, 1);
    assert_heard("H", "W");
    control_receive(control, "me", 2, "\xff\xff\xff", 3);
    assert_heard("", "R");
    assert_string_equal(heard.reason, "the request cannot be decoded: it is no control message");
    control_receive(control, "me", 2, "", 0);
    assert_heard("", "R");
    assert_string_equal(heard.reason, "the request is not one that this daemon knows");
    control_receive(control, "me", 2, "\xf2\x3f\x02zz", 5); /* one of a later version */
    assert_heard("", "R");
    control_receive(control, "me", 2, large, sizeof(large));
    assert_heard("", "R");
    assert_string_equal(heard.reason,
                        "a request of 1048577 bytes is larger than the 1048576 allowed");
    assert_int_equal(control_refused(control), 4);
    control_destroy(control);
}

static void identities_that_cannot_be_are_counted(void **state)
{
    struct control *control = control_begin();
    static const char large[CONTROL_MAX_IDENTITY + 1];

    (void)state;
    control_receive(control, "", 0, "", 0);
    control_receive(control, large, sizeof(large), "", 0);
    assert_heard("", "");
    assert_int_equal(control_refused(control), 2);
    control_destroy(control);
}

static void the_sentence_of_the_service_goes_back(void **state)
{
    struct control *control = control_begin();
    C4p__Submit submit = C4P__SUBMIT__INIT;

    (void)state;
    say_hello(control, "me", 1, 1);
    assert_heard("H", "W");
    heard.unwilling = true;
    ask(control, "me", C4P__REQUEST__BODY_SUBMIT, &submit);
    assert_heard("S", "R");
    assert_string_equal(heard.reason, "not willing");
    control_destroy(control);
}

static void more_input_than_a_piece_is_refused(void **state)
{
    struct control *control = control_begin();
    static uint8_t data[CONTROL_MAX_PIECE + 1], frame[2 * CONTROL_MAX_PIECE];
    C4p__Input input = C4P__INPUT__INIT;
    C4p__Request request = C4P__REQUEST__INIT;

    (void)state;
    say_hello(control, "me", 1, 1);
    assert_heard("H", "W");
    input.data.data = data;
    input.data.len = sizeof(data);
    request.body_case = C4P__REQUEST__BODY_INPUT;
    request.input = &input;
    control_receive(control, "me", 2, frame, c4p__request__pack(&request, frame));
    assert_heard("", "R");
    control_destroy(control);
}

static void strangers_do_not_fill_the_table_and_greeted_clients_are_bounded(void **state)
{
    struct control *control = control_begin();
    char who[16];

    (void)state;
    for (int i = 0; i < 3 * CONTROL_MAX_PEERS; i++) {
        snprintf(who, sizeof(who), "s%d", i);
        control_receive(control, who, strlen(who), "", 0);
        heard.answers[0] = '\0';
    }
    for (int i = 0; i <= CONTROL_MAX_PEERS; i++) {
        snprintf(who, sizeof(who), "c%d", i);
        say_hello(control, who, 1, 1);
        assert_heard(i < CONTROL_MAX_PEERS ? "H" : "", i < CONTROL_MAX_PEERS ? "W" : "R");
    }
    say_hello(control, "c0", 1, 1); /* again: known */
    assert_heard("H", "W");
    control_destroy(control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_have_the_bytes_of_their_specification),
        cmocka_unit_test(answers_have_the_bytes_of_their_specification),
        cmocka_unit_test(events_of_a_job_have_the_bytes_of_their_specification),
        cmocka_unit_test(fields_that_are_not_known_are_ignored),
        cmocka_unit_test(the_highest_version_that_both_speak_is_chosen),
        cmocka_unit_test(requests_reach_the_service_after_hello),
        cmocka_unit_test(what_comes_before_hello_is_refused),
        cmocka_unit_test(a_client_of_another_version_is_told_both_ranges),
        cmocka_unit_test(what_is_no_request_is_refused_and_counted),
        cmocka_unit_test(identities_that_cannot_be_are_counted),
        cmocka_unit_test(the_sentence_of_the_service_goes_back),
        cmocka_unit_test(more_input_than_a_piece_is_refused),
        cmocka_unit_test(strangers_do_not_fill_the_table_and_greeted_clients_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
