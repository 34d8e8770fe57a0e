#include "daemon/router/quiet.h"

#include <stdlib.h>
#include <string.h>

struct quiet_node {
    struct quiet_counts told;
    bool known;
    bool answered; /* the present wave */
};

struct quiet {
    uint64_t sent, handled; /* sums of what was told; they wrap like the counters */
    uint32_t unknown;       /* nodes that have told nothing yet */
    uint32_t wave;          /* number of the last one */
    uint32_t due;           /* answers that it lacks; 0: no wave is under way */
    bool changed;           /* since the wave began, somebody has told something else */
    uint32_t nodes;
    struct quiet_node node[];
};

struct quiet *quiet_create(uint32_t nodes, const bool *silent)
{
    struct quiet *quiet = calloc(1, sizeof(*quiet) + nodes * sizeof(struct quiet_node));

    if (quiet == NULL)
        return NULL;
    quiet->nodes = nodes;
    for (uint32_t i = 0; i < nodes; i++) {
        quiet->node[i].known = silent[i];
        quiet->unknown += !silent[i];
    }
    return quiet;
}

void quiet_destroy(struct quiet *quiet)
{
    free(quiet);
}

const struct quiet_counts *quiet_told(const struct quiet *quiet, uint32_t node)
{
    return &quiet->node[node].told;
}

static void told_set(struct quiet *quiet, struct quiet_node *node,
                     const struct quiet_counts *counts)
{
    if (node->known && node->told.sent == counts->sent && node->told.handled == counts->handled &&
        node->told.waits == counts->waits)
        return;
    quiet->sent += counts->sent - node->told.sent;
    quiet->handled += counts->handled - node->told.handled;
    quiet->unknown -= !node->known;
    quiet->changed = true;
    node->known = true;
    node->told = *counts;
}

/* Begin a wave, if none is under way and it could find quiescence. */
static void wave_begin(struct quiet *quiet, struct quiet_step *step)
{
    if (quiet->due > 0 || quiet->unknown > 0 || quiet->sent != quiet->handled)
        return;
    quiet->wave += quiet->wave == UINT32_MAX ? 2 : 1;
    quiet->due = quiet->nodes;
    quiet->changed = false;
    for (uint32_t i = 0; i < quiet->nodes; i++)
        quiet->node[i].answered = false;
    step->ask = true;
    step->wave = quiet->wave;
}

bool quiet_report(struct quiet *quiet, uint32_t node, const struct quiet_counts *counts,
                  struct quiet_step *step)
{
    memset(step, 0, sizeof(*step));
    if (node >= quiet->nodes)
        return false;
    told_set(quiet, &quiet->node[node], counts);
    quiet->changed = true; /* a report wants an answer, if only to the same counts again */
    wave_begin(quiet, step);
    return true;
}

bool quiet_answer(struct quiet *quiet, uint32_t node, uint32_t wave,
                  const struct quiet_counts *counts, struct quiet_step *step)
{
    uint32_t waits = 0;

    memset(step, 0, sizeof(*step));
    if (node >= quiet->nodes)
        return false;
    if (quiet->due == 0 || wave != quiet->wave || quiet->node[node].answered)
        return true;
    quiet->node[node].answered = true;
    quiet->due--;
    told_set(quiet, &quiet->node[node], counts);
    if (quiet->due > 0)
        return true;
    if (quiet->changed) {
        wave_begin(quiet, step);
        return true;
    }
    for (uint32_t i = 0; i < quiet->nodes; i++)
        waits |= quiet->node[i].told.waits;
    step->quiet = true;
    step->end = waits == 0;
    return true;
}
