/* Records of the enrolled set: a join-semilattice for each key (trust.h). Pure. */
#define _GNU_SOURCE
#include <ctype.h>
#include <string.h>

#include "daemon/cluster/trust.h"

static int compare(int64_t one, int64_t other)
{
    return one < other ? -1 : one > other;
}

/* Total orders, so that everybody takes the same one of two: the older one, as a whole. */
static int enrolled_compare(const struct enrolment *one, const struct enrolment *other)
{
    int order = compare(one->since, other->since);

    if (order == 0)
        order = memcmp(one->by.bytes, other->by.bytes, NODE_KEY_SIZE);
    if (order == 0)
        order = compare(one->kind, other->kind);
    return order != 0 ? order : strcmp(one->name, other->name);
}

static int revoked_compare(const struct enrolment *one, const struct enrolment *other)
{
    int order = compare(!one->revoked, !other->revoked);

    if (order != 0 || !one->revoked)
        return order;
    order = compare(one->revoked_at, other->revoked_at);
    return order != 0 ? order
                      : memcmp(one->revoked_by.bytes, other->revoked_by.bytes, NODE_KEY_SIZE);
}

bool enrolment_join(struct enrolment *record, const struct enrolment *other)
{
    bool changed = false;

    if (enrolled_compare(other, record) < 0) {
        record->since = other->since;
        record->by = other->by;
        record->kind = other->kind;
        memcpy(record->name, other->name, sizeof(record->name));
        changed = true;
    }
    if (revoked_compare(other, record) < 0) {
        record->revoked = true;
        record->revoked_at = other->revoked_at;
        record->revoked_by = other->revoked_by;
        changed = true;
    }
    return changed;
}

bool trust_name_valid(enum key_kind kind, const char *name)
{
    size_t length = strnlen(name, NODE_NAME_MAX + 1);

    if (length == 0 || length > NODE_NAME_MAX || !isalnum((unsigned char)name[0]) ||
        !isalnum((unsigned char)name[length - 1]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("-._", name[i]) == NULL &&
            (kind != KEY_USER || name[i] != '@'))
            return false;
    return true;
}

/* Times of day stay within what a calendar can show, and text can hold. */
static bool is_day(int64_t day_ms)
{
    return day_ms >= 0 && day_ms < INT64_C(1) << 48;
}

bool enrolment_valid(const struct enrolment *record)
{
    return (record->kind == KEY_NODE || record->kind == KEY_USER) &&
           trust_name_valid(record->kind, record->name) && is_day(record->since) &&
           is_day(record->revoked_at);
}
