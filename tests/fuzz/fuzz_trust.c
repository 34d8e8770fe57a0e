/*
 * The files of trust.h after somebody has written into them. The first byte chooses the file, the
 * rest is its text; with 128 added to it the right last line is put behind the text, so that what a
 * wrong checksum would hide is reached.
 */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/trust_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct trust *trust_empty(void)
{
    struct trust *trust = calloc(1, sizeof(*trust));

    if (trust == NULL)
        abort();
    trust->place.fd = -1;
    return trust;
}

/* What was believed can be believed. */
static void trust_check(const struct trust *trust)
{
    for (size_t i = 0; i < trust_count(trust); i++)
        if (!enrolment_valid(trust_at(trust, i)) ||
            trust_find(trust, &trust_at(trust, i)->key) != trust_at(trust, i))
            abort();
    if (trust->token_count > TRUST_MAX_TOKENS || trust->identity.name[NODE_NAME_MAX] != '\0' ||
        trust->identity.cluster_name[TRUST_CLUSTER_NAME_MAX] != '\0')
        abort();
    for (size_t i = 0; i < trust->token_count; i++)
        if (trust->tokens[i].host_count > TOKEN_HOSTS)
            abort();
}

static size_t sum_put(char *text, size_t size)
{
    uint8_t hash[16];

    crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, size, NULL, 0);
    memcpy(text + size, "sum ", 4);
    sodium_bin2hex(text + size + 4, 2 * sizeof(hash) + 1, hash, sizeof(hash));
    text[size + 4 + 2 * sizeof(hash)] = '\n';
    return size + 5 + 2 * sizeof(hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *name;
        record_take *take;
    } files[] = {
        {TRUST_FILE_CLUSTER, trust_cluster_take},
        {TRUST_FILE_ENROLLED, trust_enrolled_take},
        {TRUST_FILE_TOKENS, trust_tokens_take},
    };
    struct trust *trust = trust_empty();
    unsigned file, number;
    char *text;

    if (size == 0 || sodium_init() < 0) {
        trust_close(trust);
        return 0;
    }
    text = malloc(size + 64);
    if (text == NULL)
        abort();
    file = (data[0] & 127) % 3;
    memcpy(text, data + 1, size - 1);
    size = data[0] & 128 ? sum_put(text, size - 1) : size - 1;
    text[size] = '\0';
    record_text_read(text, size, files[file].name, files[file].take,
                     file == 0 ? (void *)&trust->identity : trust, &number);
    trust_check(trust);
    trust_close(trust);
    free(text);
    return 0;
}
