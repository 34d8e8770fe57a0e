#define _GNU_SOURCE
#include "daemon/notify.h"

#ifdef HAVE_SYSTEMD
#include <inttypes.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

bool notify_is_wanted(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

/* With the time at which it began, so that the manager can tell this reload from another one. */
void notify_reloading(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

void notify_status(const char *status)
{
    sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(const char *status, uint64_t limit_ms)
{
    sd_notifyf(0, "STOPPING=1\nSTATUS=%s\nEXTEND_TIMEOUT_USEC=%" PRIu64, status, limit_ms * 1000u);
}

uint64_t notify_watchdog_ms(void)
{
    uint64_t interval;

    return sd_watchdog_enabled(0, &interval) > 0 ? interval / 1000u : 0;
}

void notify_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}

#else

bool notify_is_wanted(void)
{
    return false;
}

void notify_ready(const char *status)
{
    (void)status;
}

void notify_reloading(void)
{
}

void notify_status(const char *status)
{
    (void)status;
}

void notify_stopping(const char *status, uint64_t limit_ms)
{
    (void)status;
    (void)limit_ms;
}

uint64_t notify_watchdog_ms(void)
{
    return 0;
}

void notify_alive(void)
{
}

#endif
