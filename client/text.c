#include "client/c4p.h"
#include "proto/control.h"

const char *c4p_id_format(uint64_t id, char text[C4P_ID_SIZE])
{
    _Static_assert(C4P_ID_SIZE == CONTROL_ID_CHARS + 1, "as the protocol says");
    control_id_format(id, text);
    return text;
}

const char *c4p_state_name(enum c4p_state state)
{
    static const char *const names[] = {"submitted", "queued",    "reserving", "starting",
                                        "running",   "completed", "failed",    "cancelled"};

    return (unsigned)state < sizeof(names) / sizeof(*names) ? names[state] : "unknown";
}
