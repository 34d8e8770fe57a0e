/*
 * What the service manager is told (sd_notify(3)); nothing where there is none, or where c4pd was
 * built without libsystemd.
 */
#ifndef C4P_DAEMON_NOTIFY_H
#define C4P_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Does anybody listen? */
bool notify_is_wanted(void);
void notify_ready(const char *status);
void notify_reloading(void);
void notify_status(const char *status);
/* The end begins, and may take so long. */
void notify_stopping(const char *status, uint64_t limit_ms);

/* How often it wants to hear that we live, in ms; 0: not at all. */
uint64_t notify_watchdog_ms(void);
void notify_alive(void);

#endif
