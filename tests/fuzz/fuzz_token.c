/*
 * Tokens that somebody typed: what is taken for one says where to connect to, and is written as the
 * same text again. The input is the text; or, after a zero, the bytes of a token, to which the right
 * checksum is put so that what lies behind it is reached.
 */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/trust.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_try(const char *text)
{
    char error[TRUST_ERROR_SIZE] = "";
    struct token token;

    if (token_read(text, &token, error) != 0) {
        if (error[0] == '\0' || memchr(error, '\0', sizeof(error)) == NULL)
            abort();
        return;
    }
    if (!node_address_valid(token.address) || strlen(token.address) > NODE_ADDRESS_MAX)
        abort();
}

static void bytes_try(const uint8_t *data, size_t size)
{
    char text[TRUST_TOKEN_MAX] = "c4pt1-";
    uint8_t bytes[256], hash[crypto_generichash_BYTES];

    if (size > sizeof(bytes) - 4)
        size = sizeof(bytes) - 4;
    memcpy(bytes, data, size);
    crypto_generichash(hash, sizeof(hash), bytes, size, NULL, 0);
    memcpy(bytes + size, hash, 4);
    sodium_bin2base64(text + 6, sizeof(text) - 6, bytes, size + 4,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    text_try(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (sodium_init() < 0)
        abort();
    if (size > 0 && data[0] == 0) {
        bytes_try(data + 1, size - 1);
        return 0;
    }
    text = malloc(size + 1);
    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    text_try(text);
    free(text);
    return 0;
}
