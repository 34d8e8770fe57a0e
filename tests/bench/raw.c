/*
 * What ZeroMQ under CURVE gives to two processes by itself: the floors under the figures of PEs on
 * two nodes. Prints JSON on one line; figures are medians.
 *
 *     raw serve ADDRESS                      one end; ends with the other one
 *     raw ask ADDRESS [ROUNDS [SCALE]]       the other: rounds per figure (5), factor on the length (1.0)
 *     raw gather ADDRESS... ROUNDS           one that gets 1 MB of each of several that serve
 *
 *   raw_round_trip_us          8 bytes there and back
 *   raw_1k_round_trip_us, raw_64k_..., raw_1m_...   so many bytes
 *   raw_16m_one_way_gb_s       messages of 16 MB, one behind the other
 *   raw_one_way_per_s          messages of 8 bytes
 *   raw_gather_ms              1 MB from each of several at a time, from the question to the last
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#define LARGEST ((size_t)16 << 20)
#define MAX_ROUNDS 101
#define MAX_SERVERS 16
#define GATHER 2

/* Of no worth: both ends have them, and nothing of theirs is secret. */
#define SERVER_PUBLIC "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define SERVER_SECRET "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
#define CLIENT_PUBLIC "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define CLIENT_SECRET "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "raw: %s:%d: %s failed: %s\n", __FILE__, __LINE__, #condition,         \
                    zmq_strerror(zmq_errno()));                                                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* What the asking end wants: `count` messages of `size` bytes, each answered or only the last. */
struct order {
    uint64_t size, count;
    uint64_t each; /* GATHER: the other way round, one that is not asked for by a message */
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *socket_open(void *context, bool server)
{
    void *socket = zmq_socket(context, ZMQ_PAIR);

    require(socket != NULL);
    require(zmq_setsockopt(socket, ZMQ_SNDHWM, &(int){0}, sizeof(int)) == 0);
    require(zmq_setsockopt(socket, ZMQ_RCVHWM, &(int){0}, sizeof(int)) == 0);
    if (server) {
        require(zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &(int){1}, sizeof(int)) == 0);
        require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, SERVER_SECRET, 41) == 0);
    } else {
        require(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, SERVER_PUBLIC, 41) == 0);
        require(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, CLIENT_PUBLIC, 41) == 0);
        require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, CLIENT_SECRET, 41) == 0);
    }
    return socket;
}

static void message_take(void *socket, size_t size)
{
    zmq_msg_t message;

    require(zmq_msg_init(&message) == 0 && zmq_msg_recv(&message, socket, 0) >= 0);
    require(zmq_msg_size(&message) == size);
    zmq_msg_close(&message);
}

static void nothing_free(void *data, void *hint)
{
    (void)data, (void)hint;
}

/* Small ones are copied, large ones go as they are. */
static void message_give(void *socket, void *data, size_t size)
{
    zmq_msg_t message;

    if (size < 1024) {
        require(zmq_send(socket, data, size, 0) >= 0);
        return;
    }
    require(zmq_msg_init_data(&message, data, size, nothing_free, NULL) == 0);
    require(zmq_msg_send(&message, socket, 0) >= 0);
}

static void serve(void *socket, const char *address)
{
    uint8_t *data = calloc(1, LARGEST);
    struct order order;

    require(data != NULL && zmq_bind(socket, address) == 0);
    while (zmq_recv(socket, &order, sizeof(order), 0) == sizeof(order) && order.count > 0) {
        for (uint64_t i = 1; i <= order.count; i++) {
            if (order.each == GATHER) {
                message_give(socket, data, order.size);
                continue;
            }
            message_take(socket, order.size);
            if (order.each)
                message_give(socket, data, order.size);
            else if (i == order.count)
                message_give(socket, data, 1);
        }
    }
    free(data);
}

/* Seconds for each message. */
static double ask(void *socket, uint8_t *data, struct order order)
{
    double begun;

    require(zmq_send(socket, &order, sizeof(order), 0) >= 0);
    begun = now();
    for (uint64_t i = 0; i < order.count; i++) {
        message_give(socket, data, order.size);
        if (order.each)
            message_take(socket, order.size);
    }
    if (!order.each)
        message_take(socket, 1);
    return (now() - begun) / (double)order.count;
}

static int ascending(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;

    return (difference > 0) - (difference < 0);
}

static double measure(void *socket, uint8_t *data, struct order order, int rounds, double scale)
{
    double seconds[MAX_ROUNDS];

    order.count = (uint64_t)((double)order.count * scale);
    order.count = order.count < 4 ? 4 : order.count;
    ask(socket, data, order); /* warms up */
    for (int round = 0; round < rounds; round++)
        seconds[round] = ask(socket, data, order);
    qsort(seconds, (size_t)rounds, sizeof(*seconds), ascending);
    return seconds[rounds / 2];
}

static void ask_all(void *socket, const char *address, int rounds, double scale)
{
    uint8_t *data = calloc(1, LARGEST);
    const struct order end = {.count = 0};

    require(data != NULL && zmq_connect(socket, address) == 0);
    printf("{\"raw_round_trip_us\": %.6g",
           measure(socket, data, (struct order){8, 5000, 1}, rounds, scale) * 1e6);
    printf(", \"raw_1k_round_trip_us\": %.6g",
           measure(socket, data, (struct order){1024, 5000, 1}, rounds, scale) * 1e6);
    printf(", \"raw_64k_round_trip_us\": %.6g",
           measure(socket, data, (struct order){64 << 10, 500, 1}, rounds, scale) * 1e6);
    printf(", \"raw_1m_round_trip_us\": %.6g",
           measure(socket, data, (struct order){1 << 20, 50, 1}, rounds, scale) * 1e6);
    printf(", \"raw_16m_one_way_gb_s\": %.6g",
           (double)LARGEST / measure(socket, data, (struct order){LARGEST, 16, 0}, rounds, scale) /
               1e9);
    printf(", \"raw_one_way_per_s\": %.6g}\n",
           1 / measure(socket, data, (struct order){8, 200000, 0}, rounds, scale));
    require(zmq_send(socket, &end, sizeof(end), 0) >= 0);
    free(data);
}

/* What a node in a tree of reductions waits for, the questions being as long as a call. */
static double gather_once(void **sockets, int count)
{
    static uint8_t question[8];
    struct order order = {sizeof(question), 1, 0};
    double begun = now();

    order.size = LARGEST / 16;
    order.each = GATHER;
    for (int i = 0; i < count; i++)
        require(zmq_send(sockets[i], &order, sizeof(order), 0) >= 0);
    for (int i = 0; i < count; i++)
        message_take(sockets[i], order.size);
    return now() - begun;
}

static void gather(void *context, char **addresses, int count, int rounds)
{
    const struct order end = {.count = 0};
    double seconds[MAX_ROUNDS];
    void *sockets[MAX_SERVERS];

    for (int i = 0; i < count; i++) {
        sockets[i] = socket_open(context, false);
        require(zmq_connect(sockets[i], addresses[i]) == 0);
    }
    gather_once(sockets, count); /* warms up */
    for (int round = 0; round < rounds; round++)
        seconds[round] = gather_once(sockets, count);
    qsort(seconds, (size_t)rounds, sizeof(*seconds), ascending);
    printf("{\"raw_gather_ms\": %.6g}\n", seconds[rounds / 2] * 1e3);
    for (int i = 0; i < count; i++) {
        require(zmq_send(sockets[i], &end, sizeof(end), 0) >= 0);
        zmq_close(sockets[i]);
    }
}

int main(int argc, char **argv)
{
    bool gathers = argc > 3 && argc < MAX_SERVERS && strcmp(argv[1], "gather") == 0;
    bool server = argc == 3 && strcmp(argv[1], "serve") == 0;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    double scale = argc > 4 ? atof(argv[4]) : 1.0;
    void *context, *socket;

    if (gathers) {
        rounds = atoi(argv[argc - 1]);
        require(rounds > 0 && rounds <= MAX_ROUNDS && (context = zmq_ctx_new()) != NULL);
        gather(context, argv + 2, argc - 3, rounds);
        zmq_ctx_term(context);
        return 0;
    }
    if ((!server && (argc < 3 || strcmp(argv[1], "ask") != 0)) || argc > 5 || rounds < 1 ||
        rounds > MAX_ROUNDS || !(scale > 0 && scale <= 100)) {
        fprintf(stderr, "usage: raw serve ADDRESS | raw ask ADDRESS [ROUNDS [SCALE]] | "
                        "raw gather ADDRESS... ROUNDS\n");
        return 2;
    }
    require((context = zmq_ctx_new()) != NULL);
    socket = socket_open(context, server);
    if (server)
        serve(socket, argv[2]);
    else
        ask_all(socket, argv[2], rounds, scale);
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
