#include "daemon/json.h"

#include "proto/utf8.h"

void json_put_string(FILE *file, const char *text)
{
    fputc('"', file);
    while (*text != '\0') {
        size_t size = utf8_size(text);

        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if (size == 1 && (unsigned char)*text < ' ')
            fprintf(file, "\\u%04x", (unsigned)*text);
        else if (size == 0)
            fputs("\xef\xbf\xbd", file);
        else
            fwrite(text, 1, size, file);
        text += size > 0 ? size : 1;
    }
    fputc('"', file);
}
