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

static void bundles_have_the_bytes_of_their_specification(void **state)
{
    C4p__BundleManifest manifest = C4P__BUNDLE_MANIFEST__INIT;
    C4p__BundleFile file = C4P__BUNDLE_FILE__INIT, *files[] = {&file};
    C4p__Offer offer = C4P__OFFER__INIT;
    C4p__BlobPut put = C4P__BLOB_PUT__INIT;
    C4p__Missing missing = C4P__MISSING__INIT;
    C4p__Submit submit = C4P__SUBMIT__INIT;
    ProtobufCBinaryData hashes[] = {bytes_of("#")};
    char *modules[] = {(char *)(uintptr_t) "np"};
    uint8_t packed[64];

    (void)state;
    manifest.root = bytes_of("/r");
    file.path = bytes_of("a.py");
    file.mode = 0644;
    file.size = 300;
    file.hash = bytes_of("#");
    manifest.n_files = 1;
    manifest.files = files;
    manifest.n_modules = 1;
    manifest.modules = modules;
    offer.manifest.data = packed;
    offer.manifest.len = c4p__bundle_manifest__pack(&manifest, packed);
    assert_request(C4P__REQUEST__BODY_OFFER, &offer,
                   (struct golden)GOLDEN("\x08\x07\x72\x1b\x0a\x19"
                                         "\x0a\x02/r\x12\x0f"
                                         "\x0a\x04"
                                         "a.py\x10\xa4\x03\x18\xac\x02\x22\x01#"
                                         "\x1a\x02np"));
    put.hash = bytes_of("#");
    put.offset = 300;
    put.data = bytes_of("hi");
    put.last = true;
    assert_request(C4P__REQUEST__BODY_BLOB_PUT, &put,
                   (struct golden)GOLDEN("\x08\x07\x7a\x0c"
                                         "\x0a\x01#\x10\xac\x02\x1a\x02hi\x20\x01"));
    missing.bundle = bytes_of("!");
    missing.n_hashes = 1;
    missing.hashes = hashes;
    assert_event(7, C4P__EVENT__BODY_MISSING, &missing,
                 (struct golden)GOLDEN("\x08\x07\x6a\x06"
                                       "\x0a\x01!\x12\x01#"));
    submit.bundle = bytes_of("!");
    assert_request(C4P__REQUEST__BODY_SUBMIT, &submit,
                   (struct golden)GOLDEN("\x08\x07\x1a\x03\x6a\x01!"));
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

static void asking_and_sessions_have_the_bytes_of_their_specification(void **state)
{
    C4p__Submit submit = C4P__SUBMIT__INIT;
    C4p__Follow follow = C4P__FOLLOW__INIT;
    C4p__Unfollow unfollow = C4P__UNFOLLOW__INIT;
    C4p__List list = C4P__LIST__INIT;
    C4p__Find find = C4P__FIND__INIT;
    C4p__Status status = C4P__STATUS__INIT;
    C4p__Open open = C4P__OPEN__INIT;
    C4p__Close close = C4P__CLOSE__INIT;
    C4p__Hello hello = C4P__HELLO__INIT;

    (void)state;
    hello.ticket = bytes_of("t");
    assert_request(C4P__REQUEST__BODY_HELLO, &hello,
                   (struct golden)GOLDEN("\x08\x07\x12\x03\x22\x01t"));
    submit.name = bytes_of("n");
    submit.priority = -2;
    submit.time_limit_ms = 300;
    submit.key = bytes_of("k");
    submit.input = submit.tied = true;
    assert_request(C4P__REQUEST__BODY_SUBMIT, &submit,
                   (struct golden)GOLDEN("\x08\x07\x1a\x0f"
                                         "\x3a\x01n\x40\x03\x48\xac\x02\x52\x01k\x58\x01\x60\x01"));
    follow.job = 3;
    follow.from = 9;
    follow.lossless = follow.input = follow.resume = true;
    assert_request(
        C4P__REQUEST__BODY_FOLLOW, &follow,
        (struct golden)GOLDEN("\x08\x07\x22\x0a\x08\x03\x10\x09\x18\x01\x20\x01\x28\x01"));
    unfollow.job = 3;
    assert_request(C4P__REQUEST__BODY_UNFOLLOW, &unfollow,
                   (struct golden)GOLDEN("\x08\x07\x42\x02\x08\x03"));
    list.ended = list.sessions = true;
    list.last = 5;
    assert_request(C4P__REQUEST__BODY_LIST, &list,
                   (struct golden)GOLDEN("\x08\x07\x4a\x06\x08\x01\x10\x01\x18\x05"));
    list = (C4p__List)C4P__LIST__INIT;
    list.after = 6;
    list.page = 7;
    assert_request(C4P__REQUEST__BODY_LIST, &list,
                   (struct golden)GOLDEN("\x08\x07\x4a\x04\x20\x06\x28\x07"));
    find.name = bytes_of("ab");
    assert_request(C4P__REQUEST__BODY_FIND, &find,
                   (struct golden)GOLDEN("\x08\x07\x52\x04\x0a\x02"
                                         "ab"));
    assert_request(C4P__REQUEST__BODY_STATUS, &status, (struct golden)GOLDEN("\x08\x07\x5a\x00"));
    submit = (C4p__Submit)C4P__SUBMIT__INIT;
    submit.pes = 4;
    open.name = bytes_of("s");
    open.create = true;
    open.job = &submit;
    open.ttl_ms = 300;
    assert_request(C4P__REQUEST__BODY_OPEN, &open,
                   (struct golden)GOLDEN("\x08\x07\x62\x0c"
                                         "\x0a\x01s\x10\x01\x1a\x02\x20\x04\x20\xac\x02"));
    close.job = 3;
    assert_request(C4P__REQUEST__BODY_CLOSE, &close,
                   (struct golden)GOLDEN("\x08\x07\x6a\x02\x08\x03"));
}

static void what_is_told_of_jobs_has_the_bytes_of_its_specification(void **state)
{
    C4p__Following following = C4P__FOLLOWING__INIT;
    C4p__State changed = C4P__STATE__INIT;
    C4p__Done done = C4P__DONE__INIT;
    C4p__JobInfo info = C4P__JOB_INFO__INIT, *infos[] = {&info};
    C4p__JobHost host = C4P__JOB_HOST__INIT, *hosts[] = {&host};
    C4p__SessionInfo session = C4P__SESSION_INFO__INIT;
    C4p__Jobs jobs = C4P__JOBS__INIT;
    C4p__DaemonStatus status = C4P__DAEMON_STATUS__INIT;
    ProtobufCBinaryData argv[] = {bytes_of("p")};
    char *troubles[] = {(char *)(uintptr_t) "x"};

    (void)state;
    following.job = 3;
    following.next = 8;
    following.first = 2;
    following.input = true;
    assert_event(7, C4P__EVENT__BODY_FOLLOWING, &following,
                 (struct golden)GOLDEN("\x08\x07\x2a\x08\x08\x03\x10\x08\x18\x02\x20\x01"));
    changed.job = 3;
    changed.state = C4P__JOB_STATE__QUEUED;
    changed.reason = (char *)(uintptr_t) "r";
    assert_event(0, C4P__EVENT__BODY_STATE, &changed,
                 (struct golden)GOLDEN("\x32\x07\x08\x03\x10\x01\x1a\x01r"));
    assert_event(7, C4P__EVENT__BODY_DONE, &done, (struct golden)GOLDEN("\x08\x07\x52\x00"));
    session.name = bytes_of("s");
    session.clients = 2;
    session.ttl_ms = 3;
    session.expires = 4;
    info.id = 1;
    info.order = 2;
    info.name = bytes_of("n");
    info.state = C4P__JOB_STATE__FAILED;
    info.pes = 5;
    info.priority = -1;
    info.time_limit_ms = 7;
    info.submitted = 8;
    info.started = 9;
    info.ended = 10;
    info.exit_code = 11;
    info.message = (char *)(uintptr_t) "m";
    info.reason = (char *)(uintptr_t) "r";
    info.n_argv = 1;
    info.argv = argv;
    info.cwd = bytes_of("/");
    info.session = &session;
    info.output_first = 17;
    info.output_next = 18;
    host.name = (char *)(uintptr_t) "h";
    host.first_pe = 1;
    host.pes = 2;
    info.n_hosts = 1;
    info.hosts = hosts;
    jobs.n_jobs = 1;
    jobs.jobs = infos;
    jobs.more = true;
    assert_event(7, C4P__EVENT__BODY_JOBS, &jobs,
                 (struct golden)GOLDEN(
                     "\x08\x07\x5a\x43\x0a\x3f\x08\x01\x10\x02\x1a\x01n\x20\x06\x28\x05\x30\x01"
                     "\x38\x07\x40\x08\x48\x09\x50\x0a\x58\x0b\x62\x01m\x6a\x01r\x72\x01p\x7a\x01/"
                     "\x82\x01\x09\x0a\x01s\x10\x02\x18\x03\x20\x04\x88\x01\x11\x90\x01\x12"
                     "\x9a\x01\x07\x0a\x01h\x10\x01\x18\x02"
                     "\x10\x01"));
    jobs = (C4p__Jobs)C4P__JOBS__INIT;
    jobs.next = 9;
    assert_event(7, C4P__EVENT__BODY_JOBS, &jobs,
                 (struct golden)GOLDEN("\x08\x07\x5a\x02\x18\x09"));
    status.version = (char *)(uintptr_t) "v";
    status.host = (char *)(uintptr_t) "h";
    status.pid = 3;
    status.started = 4;
    status.state_dir = bytes_of("/");
    status.pes = 6;
    status.pes_used = 7;
    status.queued = 8;
    status.running = 9;
    status.sessions = 10;
    status.clients = 11;
    status.max_clients = 12;
    status.refused = 13;
    status.rss = 14;
    status.n_troubles = 1;
    status.troubles = troubles;
    status.draining = true;
    status.cluster = "c";
    status.nodes = 15;
    status.nodes_lost = 16;
    status.cluster_pes = 17;
    status.cluster_pes_free = 18;
    assert_event(7, C4P__EVENT__BODY_DAEMON_STATUS, &status,
                 (struct golden)GOLDEN("\x08\x07\x62\x35\x0a\x01v\x12\x01h\x18\x03\x20\x04\x2a\x01/"
                                       "\x30\x06\x38\x07\x40\x08\x48\x09\x50\x0a\x58\x0b\x60\x0c"
                                       "\x68\x0d\x70\x0e\x7a\x01x\x80\x01\x01"
                                       "\x8a\x01\x01"
                                       "c\x90\x01\x0f\x98\x01\x10\xa0\x01\x11\xa8\x01\x12"));
}

static void packets_of_the_door_have_the_bytes_of_their_specification(void **state)
{
    C4p__Knock knock = C4P__KNOCK__INIT;
    C4p__Attach attach = C4P__ATTACH__INIT;
    C4p__Segment segment = C4P__SEGMENT__INIT;
    C4p__Door door = C4P__DOOR__INIT;

    (void)state;
    attach.min_version = 2;
    attach.max_version = 3;
    attach.name = (char *)(uintptr_t) "me";
    knock.body_case = C4P__KNOCK__BODY_ATTACH;
    knock.attach = &attach;
    assert_packed(&knock.base, (struct golden)GOLDEN("\x0a\x08\x08\x02\x10\x03\x1a\x02me"));
    segment.job = 3;
    knock.body_case = C4P__KNOCK__BODY_SEGMENT;
    knock.segment = &segment;
    assert_packed(&knock.base, (struct golden)GOLDEN("\x12\x02\x08\x03"));
    door.refused = (char *)(uintptr_t) "r";
    door.ticket = bytes_of("t");
    door.address = (char *)(uintptr_t) "a";
    door.host = (char *)(uintptr_t) "h";
    door.endpoint = 5;
    assert_packed(&door.base,
                  (struct golden)GOLDEN("\x0a\x01r\x12\x01t\x1a\x01\x61\x22\x01h\x28\x05"));
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
    assert_int_equal(control_version_choose(CONTROL_MAX_VERSION, CONTROL_MAX_VERSION),
                     CONTROL_MAX_VERSION);
    assert_int_equal(control_version_choose(0, 100), CONTROL_MAX_VERSION);
    assert_int_equal(control_version_choose(CONTROL_MAX_VERSION + 1, 100), 0);
    assert_int_equal(control_version_choose(0, CONTROL_MIN_VERSION - 1), 0);
    assert_int_equal(control_version_choose(5, 1), 0);
}

/* ---- the daemon's end, with a service that notes what it is asked ---- */

static struct {
    char asked[64];   /* a letter for each request */
    char answers[64]; /* a letter for each event: its kind */
    char reason[CONTROL_REASON_SIZE];
    uint64_t id;
    bool unwilling, full, unsent;
    struct control *large; /* Status is answered by it with more than a message may have */
    uid_t uid;             /* of whoever has a ticket */
    uint64_t number;       /* of the next connection */
    unsigned left, lost;
} heard;

static int note(const char *what, char reason[CONTROL_REASON_SIZE])
{
    strcat(heard.asked, what);
    if (heard.unwilling)
        snprintf(reason, CONTROL_REASON_SIZE, "not willing");
    return heard.unwilling ? -1 : 0;
}

#define NOTE(name, letter)                                                                         \
    static int note_##name(void *context, struct control_peer *peer, const C4p__Request *request,  \
                           char reason[CONTROL_REASON_SIZE])                                       \
    {                                                                                              \
        (void)context, (void)peer;                                                                 \
        assert_int_equal(request->id, 11);                                                         \
        return note(letter, reason);                                                               \
    }

NOTE(submit, "S")
NOTE(follow, "F")
NOTE(unfollow, "U")
NOTE(input, "I")
NOTE(output_ack, "O")
NOTE(cancel, "C")
NOTE(list, "L")
NOTE(find, "N")
NOTE(nodes, "G")
NOTE(open, "P")
NOTE(close, "X")
NOTE(offer, "B")
NOTE(blob_put, "D")

static int note_status(void *context, struct control_peer *peer, const C4p__Request *request,
                       char reason[CONTROL_REASON_SIZE])
{
    static char sentence[CONTROL_MAX_MESSAGE];
    C4p__Refused answer = C4P__REFUSED__INIT;

    (void)context;
    if (heard.large != NULL) {
        memset(sentence, 'x', sizeof(sentence) - 1);
        answer.reason = sentence;
        control_answer(heard.large, peer, request->id, C4P__EVENT__BODY_REFUSED, &answer);
    }
    return note("T", reason);
}

static bool note_redeem(void *context, const void *ticket, size_t size, struct attach_who *who)
{
    (void)context;
    if (size != 4 || memcmp(ticket, "good", 4) != 0)
        return false;
    *who = (struct attach_who){.id = heard.number, .uid = heard.uid, .pid = 1};
    return true;
}

static int note_greeted(void *context, struct control_peer *peer, char reason[CONTROL_REASON_SIZE])
{
    (void)context;
    control_peer_set_data(peer, &heard);
    if (heard.full)
        snprintf(reason, CONTROL_REASON_SIZE, "no room");
    else
        strcat(heard.asked, "H");
    return heard.full ? -1 : 0;
}

static void note_left(void *context, struct control_peer *peer)
{
    (void)context;
    assert_ptr_equal(control_peer_data(peer), &heard);
    heard.left++;
}

static void note_lost(void *context, struct control_peer *peer, int error)
{
    (void)context;
    assert_ptr_equal(control_peer_data(peer), &heard);
    assert_int_equal(error, EAGAIN);
    heard.lost++;
}

static int note_send(void *context, const void *identity, size_t identity_size, const void *data,
                     size_t size)
{
    static const char letters[] = "??WRAFSOIEDJT";
    C4p__Event *event = c4p__event__unpack(NULL, size, data);

    (void)context, (void)identity, (void)identity_size;
    assert_non_null(event);
    heard.id = event->id;
    strncat(heard.answers, &letters[event->body_case], 1);
    if (event->body_case == C4P__EVENT__BODY_REFUSED)
        snprintf(heard.reason, sizeof(heard.reason), "%s", event->refused->reason);
    c4p__event__free_unpacked(event, NULL);
    errno = EAGAIN;
    return heard.unsent ? -1 : 0;
}

#define MAX_CLIENTS 4

static struct control *control_begin(void)
{
    static const struct control_service service = {
        .submit = note_submit,
        .follow = note_follow,
        .unfollow = note_unfollow,
        .input = note_input,
        .output_ack = note_output_ack,
        .cancel = note_cancel,
        .list = note_list,
        .find = note_find,
        .status = note_status,
        .nodes = note_nodes,
        .open = note_open,
        .close = note_close,
        .offer = note_offer,
        .blob_put = note_blob_put,
        .redeem = note_redeem,
        .greeted = note_greeted,
        .left = note_left,
        .send = note_send,
        .lost = note_lost,
    };
    struct control *control = control_create(&service, 5, "vm", MAX_CLIENTS);

    memset(&heard, 0, sizeof(heard));
    heard.uid = getuid();
    heard.number = 1;
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

static void say_hello_with(struct control *control, const char *who, uint32_t min, uint32_t max,
                           const char *ticket)
{
    C4p__Hello hello = C4P__HELLO__INIT;

    hello.min_version = min;
    hello.max_version = max;
    hello.ticket = bytes_of(ticket);
    ask(control, who, C4P__REQUEST__BODY_HELLO, &hello);
}

static void say_hello(struct control *control, const char *who)
{
    say_hello_with(control, who, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, "good");
}

/* Answers to all requests since the last time, by their letters; then forget them. */
static void assert_heard(const char *asked, const char *answers)
{
    assert_string_equal(heard.asked, asked);
    assert_string_equal(heard.answers, answers);
    heard.asked[0] = heard.answers[0] = '\0';
}

/* Every request but Hello: all there are, which the test below makes sure of. */
static C4p__Submit a_submit = C4P__SUBMIT__INIT;
static C4p__Follow a_follow = C4P__FOLLOW__INIT;
static C4p__Unfollow an_unfollow = C4P__UNFOLLOW__INIT;
static C4p__Input an_input = C4P__INPUT__INIT;
static C4p__OutputAck an_ack = C4P__OUTPUT_ACK__INIT;
static C4p__Cancel a_cancel = C4P__CANCEL__INIT;
static C4p__List a_list = C4P__LIST__INIT;
static C4p__Find a_find = C4P__FIND__INIT;
static C4p__Status a_status = C4P__STATUS__INIT;
static C4p__Open an_open = C4P__OPEN__INIT;
static C4p__Close a_close = C4P__CLOSE__INIT;
static C4p__Offer an_offer = C4P__OFFER__INIT;
static C4p__BlobPut a_put = C4P__BLOB_PUT__INIT;
static C4p__Nodes some_nodes = C4P__NODES__INIT;

static const struct {
    C4p__Request__BodyCase body;
    void *message;
    const char *letter, *name;
} all_requests[] = {
    {C4P__REQUEST__BODY_SUBMIT, &a_submit, "S", "Submit"},
    {C4P__REQUEST__BODY_FOLLOW, &a_follow, "F", "Follow"},
    {C4P__REQUEST__BODY_INPUT, &an_input, "I", "Input"},
    {C4P__REQUEST__BODY_OUTPUT_ACK, &an_ack, "O", "OutputAck"},
    {C4P__REQUEST__BODY_CANCEL, &a_cancel, "C", "Cancel"},
    {C4P__REQUEST__BODY_UNFOLLOW, &an_unfollow, "U", "Unfollow"},
    {C4P__REQUEST__BODY_LIST, &a_list, "L", "List"},
    {C4P__REQUEST__BODY_FIND, &a_find, "N", "Find"},
    {C4P__REQUEST__BODY_STATUS, &a_status, "T", "Status"},
    {C4P__REQUEST__BODY_NODES, &some_nodes, "G", "Nodes"},
    {C4P__REQUEST__BODY_OPEN, &an_open, "P", "Open"},
    {C4P__REQUEST__BODY_CLOSE, &a_close, "X", "Close"},
    {C4P__REQUEST__BODY_OFFER, &an_offer, "B", "Offer"},
    {C4P__REQUEST__BODY_BLOB_PUT, &a_put, "D", "BlobPut"},
};

#define REQUESTS (sizeof(all_requests) / sizeof(*all_requests))

static void every_request_of_the_protocol_is_in_these_tests(void **state)
{
    (void)state;
    /* The id, Hello, Enter, which nobody serves, and Here, which reaches nobody, are the other four. */
    assert_int_equal(c4p__request__descriptor.n_fields, REQUESTS + 4);
}

static void each_request_of_a_client_reaches_the_service_and_its_refusal_comes_back(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me");
    assert_heard("H", "W");
    assert_int_equal(heard.id, 11);
    assert_int_equal(control_count(control), 1);
    for (size_t i = 0; i < REQUESTS; i++) {
        heard.unwilling = false;
        ask(control, "me", all_requests[i].body, all_requests[i].message);
        assert_heard(all_requests[i].letter, "");
        heard.unwilling = true;
        ask(control, "me", all_requests[i].body, all_requests[i].message);
        assert_heard(all_requests[i].letter, "R");
        assert_string_equal(heard.reason, "not willing");
        assert_int_equal(heard.id, 11);
    }
    assert_int_equal(control_refused(control), REQUESTS);
    control_destroy(control);
}

static void each_request_of_a_stranger_is_refused(void **state)
{
    struct control *control = control_begin();
    char sentence[80];

    (void)state;
    say_hello(control, "me");
    assert_heard("H", "W");
    for (size_t i = 0; i < REQUESTS; i++) {
        ask(control, "you", all_requests[i].body, all_requests[i].message);
        assert_heard("", "R");
        snprintf(sentence, sizeof(sentence), "%s came before Hello: say Hello first",
                 all_requests[i].name);
        assert_string_equal(heard.reason, sentence);
        assert_int_equal(heard.id, 11);
    }
    control_destroy(control);
}

static void each_request_of_another_users_client_is_refused(void **state)
{
    struct control *control = control_begin();
    char sentence[80];

    (void)state;
    heard.uid = getuid() + 1;
    say_hello(control, "me");
    assert_heard("H", "W");
    for (size_t i = 0; i < REQUESTS; i++) {
        ask(control, "me", all_requests[i].body, all_requests[i].message);
        assert_heard("", "R");
        snprintf(sentence, sizeof(sentence), "%s is not for clients of another user",
                 all_requests[i].name);
        assert_string_equal(heard.reason, sentence);
    }
    control_destroy(control);
}

static void nobody_comes_in_without_a_ticket_or_twice(void **state)
{
    static const char no[] = "the ticket is not valid, or no longer: attach again";
    struct control *control = control_begin();

    (void)state;
    say_hello_with(control, "me", CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, "bad!");
    assert_heard("", "R");
    assert_string_equal(heard.reason, no);
    say_hello_with(control, "me", CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, "");
    assert_heard("", "R");
    assert_int_equal(control_count(control), 0);
    say_hello(control, "me");
    assert_heard("H", "W");
    say_hello(control, "me");
    assert_heard("", "R");
    assert_string_equal(heard.reason, "Hello was said already");
    say_hello(control, "you"); /* the same connection */
    assert_heard("", "R");
    assert_string_equal(heard.reason, no);
    control_destroy(control);
}

static void ask_from_outside(struct control *control, C4p__Request__BodyCase body, void *message)
{
    const struct attach_who who = {.id = CONTROL_OUTSIDE | 3, .uid = getuid()};
    C4p__Request request = C4P__REQUEST__INIT;
    uint8_t bytes[256];

    request.id = 11;
    request.body_case = body;
    request.hello = message;
    control_receive_from(control, &who, "far", 3, bytes, c4p__request__pack(&request, bytes));
}

static void whom_the_transport_knows_needs_no_ticket_and_gets_no_sessions(void **state)
{
    C4p__Hello hello = C4P__HELLO__INIT;
    C4p__Here here = C4P__HERE__INIT;
    struct control *control = control_begin();

    (void)state;
    ask_from_outside(control, C4P__REQUEST__BODY_STATUS, &a_status);
    assert_heard("", "R");
    assert_string_equal(heard.reason, "Status came before Hello: say Hello first");
    hello.min_version = CONTROL_MIN_VERSION;
    hello.max_version = CONTROL_MAX_VERSION;
    ask_from_outside(control, C4P__REQUEST__BODY_HELLO, &hello);
    assert_heard("H", "W");
    assert_true(control_knows(control, "far", 3));
    for (size_t i = 0; i < REQUESTS; i++) {
        C4p__Request__BodyCase body = all_requests[i].body;

        ask_from_outside(control, body, all_requests[i].message);
        if (body != C4P__REQUEST__BODY_OPEN && body != C4P__REQUEST__BODY_CLOSE) {
            assert_heard(all_requests[i].letter, "");
            continue;
        }
        assert_heard("", "R");
        assert_non_null(strstr(heard.reason, "sessions, which need a daemon on this machine"));
    }
    ask_from_outside(control, C4P__REQUEST__BODY_HERE, &here);
    assert_heard("", "");
    control_gone(control, CONTROL_OUTSIDE | 3);
    assert_false(control_knows(control, "far", 3));
    control_destroy(control);
}

static void that_one_is_there_still_has_the_bytes_of_its_specification(void **state)
{
    C4p__Here here = C4P__HERE__INIT;
    C4p__Dismissed dismissed = C4P__DISMISSED__INIT;

    (void)state;
    assert_request(C4P__REQUEST__BODY_HERE, &here, (struct golden)GOLDEN("\x08\x07\x92\x01\x00"));
    dismissed.reason = (char *)(uintptr_t) "r";
    dismissed.again = true;
    assert_event(0, C4P__EVENT__BODY_DISMISSED, &dismissed,
                 (struct golden)GOLDEN("\x82\x01\x05\x0a\x01r\x10\x01"));
}

static void a_client_that_is_gone_is_forgotten(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me");
    assert_heard("H", "W");
    assert_non_null(control_find(control, 1));
    control_gone(control, 2); /* somebody who never said Hello */
    assert_int_equal(heard.left, 0);
    control_gone(control, 1);
    assert_int_equal(heard.left, 1);
    assert_int_equal(control_count(control), 0);
    control_destroy(control);
}

/* Its door and its requests are two connections, of which the first may be seen to close first. */
static void what_a_client_sent_before_it_left_is_dropped_without_a_word(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me");
    assert_heard("H", "W");
    control_gone(control, 1);
    for (size_t i = 0; i < REQUESTS; i++) {
        ask(control, "me", all_requests[i].body, all_requests[i].message);
        assert_heard("", "");
    }
    assert_int_equal(control_refused(control), 0);
    ask(control, "m", C4P__REQUEST__BODY_STATUS, &a_status); /* somebody else */
    assert_heard("", "R");
    say_hello(control, "me"); /* whoever comes back says so */
    assert_heard("H", "W");
    ask(control, "me", C4P__REQUEST__BODY_STATUS, &a_status);
    assert_heard("T", "");
    control_destroy(control);
}

static void a_client_whose_answer_cannot_be_sent_is_given_up(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me");
    heard.unwilling = heard.unsent = true;
    ask(control, "me", C4P__REQUEST__BODY_STATUS, &a_status);
    assert_int_equal(heard.lost, 1);
    ask(control, "you", C4P__REQUEST__BODY_STATUS, &a_status); /* nobody to give up */
    assert_int_equal(heard.lost, 1);
    control_destroy(control);
}

static void an_answer_that_is_too_large_is_a_refusal(void **state)
{
    struct control *control = control_begin();

    (void)state;
    say_hello(control, "me");
    assert_heard("H", "W");
    heard.large = control;
    ask(control, "me", C4P__REQUEST__BODY_STATUS, &a_status);
    assert_heard("T", "R");
    assert_non_null(strstr(heard.reason, "larger than the 1 MiB"));
    assert_int_equal(heard.lost, 0);
    control_destroy(control);
}

static void a_client_of_another_version_is_told_both_ranges(void **state)
{
    struct control *control = control_begin();
    char sentence[200];

    (void)state;
    say_hello_with(control, "me", 8, 9, "good");
    assert_heard("", "R");
    snprintf(sentence, sizeof(sentence),
             "this daemon speaks versions %d to %d of the control protocol, the client 8 to 9: use "
             "a client of the same release",
             CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    assert_string_equal(heard.reason, sentence);
    control_destroy(control);
}

static void what_is_no_request_is_refused_and_counted(void **state)
{
    struct control *control = control_begin();
    static uint8_t large[CONTROL_MAX_MESSAGE + 1];

    (void)state;
    say_hello(control, "me");
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

static void strangers_do_not_fill_the_table_and_clients_are_bounded(void **state)
{
    struct control *control = control_begin();
    char who[16];

    (void)state;
    for (int i = 0; i < 3 * MAX_CLIENTS; i++) {
        snprintf(who, sizeof(who), "s%d", i);
        control_receive(control, who, strlen(who), "", 0);
        heard.answers[0] = '\0';
    }
    for (int i = 0; i <= MAX_CLIENTS; i++) {
        snprintf(who, sizeof(who), "c%d", i);
        heard.number = (uint64_t)i + 1;
        say_hello(control, who);
        assert_heard(i < MAX_CLIENTS ? "H" : "", i < MAX_CLIENTS ? "W" : "R");
    }
    assert_string_equal(heard.reason, "the daemon has 4 clients and takes no more");
    control_gone(control, 1);
    heard.full = true; /* the service has no room either */
    say_hello(control, "c4");
    assert_heard("", "R");
    assert_string_equal(heard.reason, "no room");
    assert_int_equal(control_count(control), MAX_CLIENTS - 1);
    heard.full = false;
    say_hello(control, "c4");
    assert_heard("H", "W");
    control_destroy(control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_have_the_bytes_of_their_specification),
        cmocka_unit_test(answers_have_the_bytes_of_their_specification),
        cmocka_unit_test(bundles_have_the_bytes_of_their_specification),
        cmocka_unit_test(events_of_a_job_have_the_bytes_of_their_specification),
        cmocka_unit_test(asking_and_sessions_have_the_bytes_of_their_specification),
        cmocka_unit_test(what_is_told_of_jobs_has_the_bytes_of_its_specification),
        cmocka_unit_test(packets_of_the_door_have_the_bytes_of_their_specification),
        cmocka_unit_test(fields_that_are_not_known_are_ignored),
        cmocka_unit_test(the_highest_version_that_both_speak_is_chosen),
        cmocka_unit_test(every_request_of_the_protocol_is_in_these_tests),
        cmocka_unit_test(each_request_of_a_client_reaches_the_service_and_its_refusal_comes_back),
        cmocka_unit_test(each_request_of_a_stranger_is_refused),
        cmocka_unit_test(each_request_of_another_users_client_is_refused),
        cmocka_unit_test(nobody_comes_in_without_a_ticket_or_twice),
        cmocka_unit_test(whom_the_transport_knows_needs_no_ticket_and_gets_no_sessions),
        cmocka_unit_test(that_one_is_there_still_has_the_bytes_of_its_specification),
        cmocka_unit_test(a_client_that_is_gone_is_forgotten),
        cmocka_unit_test(what_a_client_sent_before_it_left_is_dropped_without_a_word),
        cmocka_unit_test(a_client_whose_answer_cannot_be_sent_is_given_up),
        cmocka_unit_test(an_answer_that_is_too_large_is_a_refusal),
        cmocka_unit_test(a_client_of_another_version_is_told_both_ranges),
        cmocka_unit_test(what_is_no_request_is_refused_and_counted),
        cmocka_unit_test(identities_that_cannot_be_are_counted),
        cmocka_unit_test(strangers_do_not_fill_the_table_and_clients_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
