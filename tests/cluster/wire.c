/*
 * The network between the hosts of a test: a switch in user space, which can delay, lose, reorder,
 * duplicate and cut what passes between any two of them. Kernels without netem have nothing for that.
 *
 *   wire INTERFACE...     one for each host, in this network namespace
 *
 * Commands come on standard input, a line each, and are answered by "ok" or "error: ...":
 *
 *   cut 0,1 2,3,4         nothing passes between the two groups any more
 *   link FROM TO delay=MS jitter=MS loss=PERCENT reorder=PERCENT duplicate=PERCENT
 *                         one direction; FROM and TO are numbers or "all"; what is not given is 0
 *   heal                  no cuts, no faults
 *   capture FILE          write all that passes to FILE, raw; "capture" alone ends it
 *   figures               answered by "ok passed P lost L cut C"
 *   seed N                of the faults; 1 at the start
 *
 * It ends when standard input does. Frames are forwarded by the sender's address as it was learnt.
 * The header that the kernel puts in front of them (virtio_net_hdr) goes along, so that checksums that
 * are yet to be computed, and segments that are yet to be cut, stay so.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define MAX_PORTS 16
#define MAX_FRAME (128u << 10)
#define MAX_QUEUE 65536
#define ADDRESS 6

struct link {
    bool cut;
    double delay, jitter; /* ms */
    double loss, reorder, duplicate;
};

struct frame {
    double due;      /* ms */
    uint64_t number; /* of equal times: the order of arrival */
    unsigned to;
    size_t size;
    uint8_t data[];
};

static struct port {
    int fd;
    uint8_t address[ADDRESS];
    bool learnt;
} ports[MAX_PORTS];
static unsigned port_count;
static struct link links[MAX_PORTS][MAX_PORTS];
static struct frame *queue[MAX_QUEUE]; /* a heap */
static size_t queued;
static uint64_t numbers, random_state = 1;
static uint64_t passed, lost, cut_off;
static FILE *capture;

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* splitmix64, by Sebastiano Vigna, public domain. */
static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double random_unit(void)
{
    return (double)(random_next() >> 11) / 9007199254740992.0;
}

static bool happens(double percent)
{
    return percent > 0 && random_unit() * 100 < percent;
}

/* ---- frames that are on their way ---- */

static bool earlier(const struct frame *a, const struct frame *b)
{
    return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static void swap_frames(size_t a, size_t b)
{
    struct frame *frame = queue[a];

    queue[a] = queue[b];
    queue[b] = frame;
}

static void queue_add(struct frame *frame)
{
    size_t i = queued++;

    queue[i] = frame;
    for (; i > 0 && earlier(queue[i], queue[(i - 1) / 2]); i = (i - 1) / 2)
        swap_frames(i, (i - 1) / 2);
}

static struct frame *queue_take(void)
{
    struct frame *first = queue[0];

    queue[0] = queue[--queued];
    for (size_t i = 0, child; (child = 2 * i + 1) < queued; i = child) {
        if (child + 1 < queued && earlier(queue[child + 1], queue[child]))
            child++;
        if (!earlier(queue[child], queue[i]))
            break;
        swap_frames(i, child);
    }
    return first;
}

static void frame_send(unsigned to, const uint8_t *data, size_t size)
{
    if (send(ports[to].fd, data, size, 0) == (ssize_t)size)
        passed++;
    else
        lost++; /* as on any wire */
}

static void frame_delay(unsigned to, const uint8_t *data, size_t size, double ms)
{
    struct frame *frame = queued < MAX_QUEUE ? malloc(sizeof(*frame) + size) : NULL;

    if (frame == NULL) {
        lost++;
        return;
    }
    frame->due = now_ms() + ms;
    frame->number = ++numbers;
    frame->to = to;
    frame->size = size;
    memcpy(frame->data, data, size);
    queue_add(frame);
}

static void frame_pass(unsigned from, unsigned to, const uint8_t *data, size_t size)
{
    const struct link *link = &links[from][to];
    double ms = link->delay + link->jitter * random_unit();

    if (link->cut) {
        cut_off++;
        return;
    }
    if (happens(link->loss)) {
        lost++;
        return;
    }
    if (happens(link->reorder))
        ms = 0; /* it overtakes those that are under way */
    if (happens(link->duplicate))
        frame_delay(to, data, size, ms);
    if (ms <= 0 && link->delay <= 0)
        frame_send(to, data, size);
    else
        frame_delay(to, data, size, ms);
}

static void port_learn(unsigned from, const uint8_t *address)
{
    memcpy(ports[from].address, address, ADDRESS);
    ports[from].learnt = true;
}

static void frame_forward(unsigned from, const uint8_t *data, size_t size)
{
    const uint8_t *target = data + sizeof(struct virtio_net_hdr);

    port_learn(from, target + ADDRESS);
    if (capture != NULL)
        fwrite(target, size - sizeof(struct virtio_net_hdr), 1, capture);
    for (unsigned to = 0; to < port_count; to++)
        if (to != from && ports[to].learnt && memcmp(ports[to].address, target, ADDRESS) == 0) {
            frame_pass(from, to, data, size);
            return;
        }
    for (unsigned to = 0; to < port_count; to++)
        if (to != from)
            frame_pass(from, to, data, size);
}

static void port_read(unsigned from)
{
    static uint8_t data[MAX_FRAME];

    for (unsigned i = 0; i < 64; i++) {
        ssize_t size = recv(ports[from].fd, data, sizeof(data), MSG_DONTWAIT);

        if (size < (ssize_t)(sizeof(struct virtio_net_hdr) + sizeof(struct ether_header)))
            return;
        frame_forward(from, data, (size_t)size);
    }
}

/* ---- commands ---- */

static int answer(const char *text)
{
    puts(text);
    fflush(stdout);
    return 0;
}

/* "0,2,3" as bits; 0 if it is no such thing. */
static unsigned group_read(const char *text)
{
    unsigned bits = 0;
    char *end;

    if (strcmp(text, "all") == 0)
        return (1u << port_count) - 1;
    do {
        unsigned long port = strtoul(text, &end, 10);

        if (end == text || port >= port_count)
            return 0;
        bits |= 1u << port;
        text = end + 1;
    } while (*end == ',');
    return *end == '\0' ? bits : 0;
}

static int command_cut(char **words, unsigned count)
{
    unsigned a = count > 1 ? group_read(words[1]) : 0, b = count > 2 ? group_read(words[2]) : 0;

    if (a == 0 || b == 0)
        return answer("error: cut GROUP GROUP");
    for (unsigned i = 0; i < port_count; i++)
        for (unsigned j = 0; j < port_count; j++)
            if ((a >> i & 1 && b >> j & 1) || (b >> i & 1 && a >> j & 1))
                links[i][j].cut = true;
    return answer("ok");
}

static bool setting_read(struct link *link, const char *word)
{
    static const struct {
        const char *name;
        size_t member;
    } settings[] = {
        {"delay=", offsetof(struct link, delay)},
        {"jitter=", offsetof(struct link, jitter)},
        {"loss=", offsetof(struct link, loss)},
        {"reorder=", offsetof(struct link, reorder)},
        {"duplicate=", offsetof(struct link, duplicate)},
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        size_t length = strlen(settings[i].name);
        char *end;

        if (strncmp(word, settings[i].name, length) != 0)
            continue;
        *(double *)(void *)((char *)link + settings[i].member) = strtod(word + length, &end);
        return end != word + length && *end == '\0';
    }
    return false;
}

static int command_link(char **words, unsigned count)
{
    unsigned from = count > 1 ? group_read(words[1]) : 0, to = count > 2 ? group_read(words[2]) : 0;
    struct link link = {0};

    for (unsigned i = 3; i < count; i++)
        if (!setting_read(&link, words[i]))
            from = 0;
    if (from == 0 || to == 0)
        return answer("error: link FROM TO NAME=NUMBER...");
    for (unsigned i = 0; i < port_count; i++)
        for (unsigned j = 0; j < port_count; j++)
            if (from >> i & 1 && to >> j & 1) {
                link.cut = links[i][j].cut;
                links[i][j] = link;
            }
    return answer("ok");
}

static int command_heal(char **words, unsigned count)
{
    (void)words, (void)count;
    memset(links, 0, sizeof(links));
    return answer("ok");
}

static int command_capture(char **words, unsigned count)
{
    if (capture != NULL)
        fclose(capture);
    capture = count > 1 ? fopen(words[1], "we") : NULL;
    return answer(count > 1 && capture == NULL ? "error: cannot write there" : "ok");
}

static int command_figures(char **words, unsigned count)
{
    char text[128];

    (void)words, (void)count;
    snprintf(text, sizeof(text), "ok passed %llu lost %llu cut %llu", (unsigned long long)passed,
             (unsigned long long)lost, (unsigned long long)cut_off);
    return answer(text);
}

static int command_seed(char **words, unsigned count)
{
    if (count < 2)
        return answer("error: seed NUMBER");
    random_state = strtoull(words[1], NULL, 10);
    return answer("ok");
}

static const struct {
    const char *name;
    int (*run)(char **words, unsigned count);
} commands[] = {
    {"cut", command_cut},         {"link", command_link},       {"heal", command_heal},
    {"capture", command_capture}, {"figures", command_figures}, {"seed", command_seed},
};

static void command_run(char *line)
{
    char *words[16], *rest = line;
    unsigned count = 0;

    while (count < 16 && (words[count] = strtok_r(rest, " \n", &rest)) != NULL)
        count++;
    for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(words[0], commands[i].name) == 0) {
            commands[i].run(words, count);
            return;
        }
    answer("error: no such command");
}

/* Read what there is of commands; false at the end. */
static bool commands_read(void)
{
    static char text[4096];
    static size_t size;
    ssize_t rc = read(STDIN_FILENO, text + size, sizeof(text) - size - 1);
    char *end;

    if (rc <= 0)
        return false;
    size += (size_t)rc;
    text[size] = '\0';
    while ((end = strchr(text, '\n')) != NULL) {
        *end = '\0';
        command_run(text);
        size -= (size_t)(end + 1 - text);
        memmove(text, end + 1, size + 1);
    }
    return size < sizeof(text) - 1;
}

/* ---- the switch ---- */

static int port_open(struct port *port, const char *name)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    const int on = 1, room = 8 << 20;

    address.sll_ifindex = (int)if_nametoindex(name);
    port->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    if (address.sll_ifindex == 0 || port->fd < 0)
        return -1;
    setsockopt(port->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    setsockopt(port->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    if (setsockopt(port->fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
        setsockopt(port->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0)
        return -1;
    return bind(port->fd, (struct sockaddr *)&address, sizeof(address));
}

static void wire_run(void)
{
    struct pollfd polls[MAX_PORTS + 1];

    for (unsigned i = 0; i < port_count; i++)
        polls[i] = (struct pollfd){ports[i].fd, POLLIN, 0};
    polls[port_count] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    for (;;) {
        double wait = queued > 0 ? queue[0]->due - now_ms() : 1000;
        const struct timespec timeout = {wait > 0 ? (time_t)(wait / 1e3) : 0,
                                         wait > 0 ? (long)(wait * 1e6) % 1000000000 : 0};

        if (ppoll(polls, port_count + 1, &timeout, NULL) < 0 && errno != EINTR)
            return;
        for (unsigned i = 0; i < port_count; i++)
            if (polls[i].revents & POLLIN)
                port_read(i);
        while (queued > 0 && queue[0]->due <= now_ms()) {
            struct frame *frame = queue_take();

            frame_send(frame->to, frame->data, frame->size);
            free(frame);
        }
        if (polls[port_count].revents != 0 && !commands_read())
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > MAX_PORTS + 1) {
        fprintf(stderr, "usage: wire INTERFACE... (at most %d)\n", MAX_PORTS);
        return 2;
    }
    for (port_count = 0; port_count < (unsigned)argc - 1; port_count++)
        if (port_open(&ports[port_count], argv[port_count + 1]) != 0) {
            fprintf(stderr, "wire: %s: %s\n", argv[port_count + 1], strerror(errno));
            return 1;
        }
    answer("ok");
    wire_run();
    return 0;
}
