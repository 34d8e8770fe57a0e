#include "client/cli/printer.h"

#include <stdio.h>
#include <string.h>

#include "client/c4p.h"

void printer_init(struct printer *printer, bool label, bool joined, printer_sink *sink,
                  void *context)
{
    memset(printer, 0, sizeof(*printer));
    printer->sink = sink;
    printer->context = context;
    printer->label = label;
    printer->joined = joined;
}

static void labelled_put(struct printer *printer, uint32_t pe, unsigned output, const char *data,
                         size_t size)
{
    bool fresh = !printer->unfinished[output];
    char label[16];
    int length = snprintf(label, sizeof(label), "[%u] ", pe);

    while (size > 0) {
        const char *newline = memchr(data, '\n', size);
        size_t line = newline == NULL ? size : (size_t)(newline + 1 - data);

        if (fresh)
            printer->sink(printer->context, output, label, (size_t)length);
        printer->sink(printer->context, output, data, line);
        fresh = true;
        data += line;
        size -= line;
    }
}

void printer_put(struct printer *printer, uint32_t pe, unsigned stream, const char *data,
                 size_t size)
{
    unsigned output = printer->joined ? 0 : stream;

    if (size == 0)
        return;
    if (printer->unfinished[output] && printer->open[output] != pe) {
        printer->sink(printer->context, output, "\n", 1);
        printer->unfinished[output] = false;
    }
    if (printer->label && pe != C4P_NO_PE)
        labelled_put(printer, pe, output, data, size);
    else
        printer->sink(printer->context, output, data, size);
    printer->open[output] = pe;
    printer->unfinished[output] = data[size - 1] != '\n';
}
