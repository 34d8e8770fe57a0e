/* c4pd nodes: who is in the cluster, and how it is. */
#define _GNU_SOURCE
#include "daemon/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/ask.h"
#include "daemon/listing.h"

#define NUMBERS_SIZE 32

/* ---- rows ---- */

static const char *const node_titles[] = {"NODE",    "STATE",   "PES",   "LOAD",
                                          "RELEASE", "ADDRESS", "SINCE", "KEY"};

static void node_add(struct table *table, const C4p__NodeInfo *node)
{
    char text[LISTING_TIME_SIZE], fingerprint[TRUST_FINGERPRINT_SIZE];
    bool heard = node->release[0] != '\0';
    char pes[NUMBERS_SIZE] = "-", load[NUMBERS_SIZE] = "-";

    if (heard) {
        snprintf(pes, sizeof(pes), "%" PRIu32 "/%" PRIu32, node->pes_free, node->pes);
        snprintf(load, sizeof(load), "%" PRIu32 ".%02" PRIu32, node->load / 100, node->load % 100);
    }
    table_add_format(table, "%s%s", node->name, node->self ? " (here)" : "");
    table_add_format(table, "%s%s", node->state, node->draining ? ", ends" : "");
    table_add(table, pes);
    table_add(table, load);
    table_add(table, heard ? node->release : "-");
    table_add(table, node->control[0] != '\0' ? node->control : "-");
    table_add(table, listing_time(node->since, text));
    table_add(table, listing_fingerprint(&node->key, fingerprint));
}

static void node_print_json(const C4p__NodeInfo *node)
{
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    fputs("{", stdout);
    listing_json_text("name", node->name);
    listing_json_text("key", listing_fingerprint(&node->key, fingerprint));
    listing_json_text("state", node->state);
    listing_json_text("address", node->control);
    listing_json_text("data_address", node->data);
    listing_json_text("release", node->release);
    listing_json_time("started", node->started);
    listing_json_time("since", node->since);
    printf("\"pes\": %" PRIu32 ", \"pes_free\": %" PRIu32 ", \"queued\": %" PRIu32
           ", \"load\": %" PRIu32 ".%02" PRIu32 ", \"cores\": %" PRIu32 ", \"memory\": %" PRIu64
           ", \"draining\": %s, \"here\": %s}",
           node->pes, node->pes_free, node->queued, node->load / 100, node->load % 100, node->cores,
           node->memory, node->draining ? "true" : "false", node->self ? "true" : "false");
}

static void node_list(struct listing *listing, const C4p__NodeInfo *node)
{
    listing_next(listing);
    if (listing->json)
        node_print_json(node);
    else
        node_add(&listing->table, node);
}

static void nodes_begin(struct listing *listing, const struct options *options, const char *cluster)
{
    listing_begin(listing, options->json, cluster, "nodes", node_titles,
                  sizeof(node_titles) / sizeof(*node_titles), 1u << 2 | 1u << 3);
}

/* ---- without the daemon ---- */

static void record_list(struct listing *listing, const struct trust *trust,
                        const struct enrolment *record)
{
    C4p__NodeInfo node = C4P__NODE_INFO__INIT;

    node.key = (ProtobufCBinaryData){NODE_KEY_SIZE, (uint8_t *)(uintptr_t)record->key.bytes};
    node.name = (char *)(uintptr_t)record->name;
    node.state = (char *)(uintptr_t)(record->revoked ? "revoked" : "enrolled");
    node.since = (uint64_t)(record->revoked ? record->revoked_at : record->since);
    node.self = key_equal(&record->key, &trust_identity(trust)->public_key);
    node_list(listing, &node);
}

/* Nobody can say who is there, but who belongs to it is written down. */
static int nodes_from_files(const struct options *options)
{
    char error[TRUST_ERROR_SIZE];
    struct trust *trust = trust_open(options->state_dir, error);
    struct listing listing;

    if (trust == NULL) {
        fprintf(stderr, "c4pd: %s\n", error);
        return EXIT_CODE_FAILED;
    }
    fprintf(stderr,
            "c4pd: no daemon runs (%s): this is who belongs to the cluster, not who is there\n",
            options->state_dir);
    nodes_begin(&listing, options, trust_identity(trust)->cluster_name);
    for (size_t i = 0; i < trust_count(trust); i++)
        if (trust_at(trust, i)->kind == KEY_NODE)
            record_list(&listing, trust, trust_at(trust, i));
    listing_end(&listing);
    trust_close(trust);
    return EXIT_CODE_NOT_RUNNING;
}

/* ---- with it ---- */

/* Page by page; the first one is there. */
static int nodes_print(const struct options *options, C4p__AdminAnswer *answer)
{
    C4p__AdminNodes question = C4P__ADMIN_NODES__INIT;
    int code = EXIT_CODE_OK;
    struct listing listing;

    nodes_begin(&listing, options, answer->cluster);
    while (answer != NULL) {
        C4p__AdminAnswer *page = answer;

        for (size_t i = 0; i < page->n_nodes; i++)
            node_list(&listing, page->nodes[i]);
        answer = NULL;
        if (page->more && page->n_nodes > 0) {
            question.after = page->nodes[page->n_nodes - 1]->name;
            answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_NODES, &question, &code);
        }
        ask_free(page);
    }
    listing_end(&listing);
    return code;
}

int nodes_main(const struct options *options)
{
    C4p__AdminNodes question = C4P__ADMIN_NODES__INIT;
    C4p__AdminAnswer *answer = ask(options->state_dir, C4P__ADMIN__BODY_NODES, &question);
    int code;

    if (answer == NULL && ask_found_nobody())
        return nodes_from_files(options);
    answer = ask_judge(options->state_dir, answer, &code);
    return answer != NULL ? nodes_print(options, answer) : code;
}
