#include "daemon/router/fan.h"

static bool root_inside(const struct fan *fan)
{
    return fan->root >= fan->first && fan->root < fan->end;
}

uint32_t fan_size(const struct fan *fan)
{
    return fan->end - fan->first - root_inside(fan);
}

uint32_t fan_node(const struct fan *fan, uint32_t place)
{
    uint32_t node = fan->first + place;

    return root_inside(fan) && node >= fan->root ? node + 1 : node;
}

uint32_t fan_place(const struct fan *fan, uint32_t node)
{
    if (node == fan->root || node < fan->first || node >= fan->end)
        return UINT32_MAX;
    return node - fan->first - (root_inside(fan) && node > fan->root);
}

/* Divide a stretch into at most `arity` of nearly equal length. */
static uint32_t divide(uint32_t arity, uint32_t low, uint32_t high,
                       struct fan_part children[FAN_ARITY_MAX])
{
    uint32_t length = high - low;
    uint32_t count = length < arity ? length : arity;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = length / count + (i < length % count);

        children[i] = (struct fan_part){low, low + size};
        low += size;
    }
    return count;
}

uint32_t fan_root_children(const struct fan *fan, struct fan_part children[FAN_ARITY_MAX])
{
    return divide(fan->arity, 0, fan_size(fan), children);
}

uint32_t fan_children(const struct fan *fan, const struct fan_part *part,
                      struct fan_part children[FAN_ARITY_MAX])
{
    return divide(fan->arity, part->low + 1, part->high, children);
}

struct fan_part fan_part_of(const struct fan *fan, uint32_t place, uint32_t *parent)
{
    struct fan_part children[FAN_ARITY_MAX], part = {0, 0};
    uint32_t count = fan_root_children(fan, children);

    *parent = fan->root;
    for (;;) {
        for (uint32_t i = 0; i < count; i++)
            if (place >= children[i].low && place < children[i].high)
                part = children[i];
        if (part.low == place)
            return part;
        *parent = fan_node(fan, part.low);
        count = fan_children(fan, &part, children);
    }
}
