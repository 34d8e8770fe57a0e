#include "daemon/jobs/letters.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

struct letter {
    struct letter *prev, *next;
    uint64_t number;
    size_t size;
    uint8_t packed[];
};

void letters_init(struct letters *letters, const struct courier *courier, const struct node_key *to,
                  uint64_t job, uint64_t attempt, bool home, int64_t now)
{
    memset(letters, 0, sizeof(*letters));
    letters->courier = *courier;
    letters->to = *to;
    letters->job = job;
    letters->attempt = attempt;
    letters->home = home;
    letters->resend_at = -1;
    letters->ask_at = now + LETTERS_ASK_MS;
    letters->patience = LETTERS_RESEND_MS;
}

void letters_free(struct letters *letters)
{
    struct letter *letter, *next;

    DL_FOREACH_SAFE(letters->kept, letter, next)
    {
        free(letter);
    }
    letters->kept = NULL;
}

static bool may_send(const struct letters *letters)
{
    return letters->sent - letters->acknowledged < LETTERS_UNDER_WAY;
}

/* Those that were not sent, in order, as far as they may and the link takes them. */
static void letters_go_on(struct letters *letters)
{
    for (struct letter *letter = letters->kept; letter != NULL && may_send(letters);
         letter = letter->next) {
        C4p__Peer *message;
        int rc = -1;

        if (letter->number <= letters->sent)
            continue;
        message = c4p__peer__unpack(NULL, letter->size, letter->packed);
        if (message != NULL)
            rc = letters->courier.send(letters->courier.context, &letters->to, message);
        c4p__peer__free_unpacked(message, NULL);
        if (rc != 0)
            break; /* not now, then not those behind it either */
        letters->sent = letter->number;
    }
}

int letters_write(struct letters *letters, C4p__Peer *message, uint64_t *number, int64_t now)
{
    struct letter *letter;
    size_t size;

    *number = letters->written + 1;
    size = c4p__peer__get_packed_size(message);
    letter = malloc(sizeof(*letter) + size);
    if (letter == NULL) {
        errno = ENOMEM;
        return -1;
    }
    letter->number = ++letters->written;
    letter->size = c4p__peer__pack(message, letter->packed);
    DL_APPEND(letters->kept, letter);
    if (letters->resend_at < 0) {
        letters->patience = LETTERS_RESEND_MS;
        letters->resend_at = now + letters->patience;
    }
    if (letters->sent + 1 != letter->number || !may_send(letters))
        return 0; /* those before it go first */
    if (letters->courier.send(letters->courier.context, &letters->to, message) == 0)
        letters->sent++;
    return 0;
}

bool letters_take(struct letters *letters, uint64_t number, int64_t now)
{
    letters->ask_at = now + LETTERS_ASK_MS;
    letters->asked = 0;
    letters->owes = true;
    if (number != letters->read + 1)
        return false;
    letters->read = number;
    return true;
}

void letters_put_away(struct letters *letters, size_t bytes)
{
    letters->taken += bytes;
    letters->owes = true;
}

void letters_acknowledged(struct letters *letters, const C4p__GuestAck *ack, int64_t now)
{
    struct letter *letter, *next;
    bool moved = false;

    letters->ask_at = now + LETTERS_ASK_MS;
    letters->asked = 0;
    letters->owes = letters->owes || ack->answer;
    DL_FOREACH_SAFE(letters->kept, letter, next)
    {
        if (letter->number > ack->number)
            break;
        letters->acknowledged = letter->number;
        DL_DELETE(letters->kept, letter);
        free(letter);
        moved = true;
    }
    if (letters->sent < letters->acknowledged)
        letters->sent = letters->acknowledged;
    if (moved)
        letters->patience = LETTERS_RESEND_MS;
    if (letters->kept == NULL)
        letters->resend_at = -1;
    else if (moved)
        letters->resend_at = now + letters->patience;
    letters_go_on(letters);
}

static void ack_send(struct letters *letters, bool answer)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestAck ack = C4P__GUEST_ACK__INIT;

    ack.job = letters->job;
    ack.attempt = letters->attempt;
    ack.number = letters->read;
    ack.taken = letters->taken;
    ack.answer = answer;
    ack.home = letters->home;
    message.body_case = C4P__PEER__BODY_GUEST_ACK;
    message.guest_ack = &ack;
    letters->courier.send(letters->courier.context, &letters->to, &message);
    letters->owes = false;
}

void letters_settle(struct letters *letters)
{
    if (letters->owes)
        ack_send(letters, false);
}

int64_t letters_tick(struct letters *letters, int64_t now)
{
    if (letters->resend_at >= 0 && now >= letters->resend_at) {
        letters->patience *= 2;
        if (letters->patience > LETTERS_RESEND_MAX_MS)
            letters->patience = LETTERS_RESEND_MAX_MS;
        letters->resend_at = now + letters->patience;
        letters->sent = letters->acknowledged;
        letters_go_on(letters);
    }
    if (now >= letters->ask_at) {
        letters->ask_at = now + LETTERS_ASK_MS;
        letters->asked++;
        ack_send(letters, true);
    }
    letters_settle(letters);
    return letters_wake_at(letters);
}

int64_t letters_wake_at(const struct letters *letters)
{
    if (letters->resend_at >= 0 && letters->resend_at < letters->ask_at)
        return letters->resend_at;
    return letters->ask_at;
}
