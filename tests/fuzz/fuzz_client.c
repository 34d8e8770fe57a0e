/*
 * What a daemon sends, as the client library takes it: the input is a sequence of frames, each after
 * two bytes with its length (little-endian). Everything that an event points to is read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t sum;

static void bytes_read(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum ^= (uint8_t)bytes[i];
    __asm__ volatile("" ::"r"(sum)); /* is not optimised away */
}

static void text_read(const char *text)
{
    bytes_read(text, strlen(text));
}

static void list_read(const char *const *list)
{
    for (; *list != NULL; list++)
        text_read(*list);
}

static void event_read(const struct c4p_event *event)
{
    text_read(event->text);
    bytes_read(event->data, event->data_size);
    bytes_read(event->tail, event->tail_size);
    text_read(c4p_state_name(event->state));
    if (event->info != NULL) {
        text_read(event->info->name);
        text_read(event->info->message);
        text_read(event->info->reason);
        text_read(event->info->cwd);
        text_read(event->info->session_name);
        list_read(event->info->argv);
    }
    if (event->status != NULL) {
        text_read(event->status->version);
        text_read(event->status->host);
        text_read(event->status->state_dir);
        list_read(event->status->troubles);
    }
}

/* Every event of a message: of a list there are as many as it has jobs, and one. */
static void message_take(struct c4p_client *client)
{
    size_t limit = 1;

    if (client->event->body_case == C4P__EVENT__BODY_JOBS)
        limit = client->event->jobs->n_jobs + 1;
    client->jobs_told = 0;
    for (size_t i = 0; i < limit; i++) {
        struct c4p_event event = {.text = "", .data = "", .tail = ""};

        if (!event_fill(client, &event))
            break;
        if (event.request < 0 || event.kind > C4P_EVENT_BACK)
            abort();
        event_read(&event);
    }
    c4p__event__free_unpacked(client->event, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct c4p_client client;

    while (size >= 2) {
        size_t length = data[0] | (size_t)data[1] << 8;

        data += 2;
        size -= 2;
        if (length > size)
            length = size;
        client.event = c4p__event__unpack(NULL, length, data);
        if (client.event != NULL)
            message_take(&client);
        data += length;
        size -= length;
    }
    free(client.scratch);
    client.scratch = NULL;
    return 0;
}
