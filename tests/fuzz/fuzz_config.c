/*
 * config_parse() on arbitrary bytes. What is accepted is in range; what is refused is named with its
 * line; and either way the configuration that it began with is not left half changed in what it
 * does not name.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void values_check(const struct config *config)
{
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        const struct config_value *value = &config->values[key];
        const struct config_row *row = &config_rows[key];
        char text[VALUE_TEXT_SIZE];
        uint64_t again;

        if (value_is_text(row->type)) {
            if (!value_check(row->type, value->text))
                abort();
            continue;
        }
        if (value->number < row->least || value->number > row->most)
            abort();
        if (value->source == CONFIG_DEFAULT && key != CONFIG_PES && value->number != row->otherwise)
            abort();
        value_format(row->type, value->number, text);
        if (!value_parse(row->type, text, &again) || again != value->number)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exactly that size, so that the sanitizer sees a byte too much. */
    char *text = malloc(size ? size : 1), error[CONFIG_ERROR_SIZE];
    struct config config;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    config_init(&config, 4);
    if (config_parse(&config, "file", text, size, error) != 0 && strncmp(error, "file:", 5) != 0)
        abort();
    values_check(&config);
    free(text);
    return 0;
}
