/*
 * Puts pieces of the PEs' output on c4py's own standard output and error, so
 * that what different PEs write never shares a line, and with --label each
 * line says whose it is. Pure: the text goes to a sink function.
 */
#ifndef C4P_CLIENT_CLI_PRINTER_H
#define C4P_CLIENT_CLI_PRINTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Take text for output 0 (standard output) or 1 (standard error). */
typedef void printer_sink(void *context, unsigned output, const char *data, size_t size);

struct printer {
    printer_sink *sink;
    void *context;
    bool label;
    bool joined;      /* both outputs end on the same screen or in the same file: all goes to 0 */
    uint32_t open[2]; /* the PE whose unfinished line is the last thing there, or C4P_NO_PE */
    bool unfinished[2];
};

void printer_init(struct printer *printer, bool label, bool joined, printer_sink *sink,
                  void *context);

/* A piece of what a PE wrote to a stream (0, 1); C4P_NO_PE: our own words. */
void printer_put(struct printer *printer, uint32_t pe, unsigned stream, const char *data,
                 size_t size);

#endif
