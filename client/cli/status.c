/*
 * c4py status: how the daemon is.
 */
#include <inttypes.h>
#include <stdio.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "client/cli/duration.h"
#include "proto/table.h"

static void cluster_add(struct table *table, const struct c4p_daemon_status *status)
{
    char lost[40] = "";

    if (status->cluster[0] == '\0')
        return;
    if (status->nodes_lost > 0)
        snprintf(lost, sizeof(lost), ", %u lost", status->nodes_lost);
    table_add(table, "cluster");
    table_add_format(table, "%s: %u node%s%s, %u of %u PEs free", status->cluster, status->nodes,
                     status->nodes == 1 ? "" : "s", lost, status->cluster_pes_free,
                     status->cluster_pes);
}

static void rows_add(struct table *table, const struct c4p_daemon_status *status)
{
    uint64_t now = ask_time_of_day();
    char up[DURATION_SIZE];

    duration_format(now > status->started ? now - status->started : 0, up);
    table_add(table, "state directory");
    table_add(table, status->state_dir);
    table_add(table, "process");
    table_add_format(table, "%u, up for %s%s", status->pid, up,
                     status->draining ? ", draining: it starts no more jobs" : "");
    table_add(table, "PEs");
    table_add_format(table, "%u of %u in use", status->pes_used, status->pes);
    table_add(table, "jobs");
    table_add_format(table, "%u running, %u queued", status->running, status->queued);
    table_add(table, "sessions");
    table_add_format(table, "%u", status->sessions);
    table_add(table, "clients");
    table_add_format(table, "%u of %u", status->clients, status->max_clients);
    table_add(table, "refused");
    table_add_format(table, "%" PRIu64 " requests", status->refused);
    table_add(table, "memory");
    table_add_format(table, "%.1f MiB", (double)status->rss / (1 << 20));
    cluster_add(table, status);
    for (const char *const *trouble = status->troubles; *trouble != NULL; trouble++) {
        table_add(table, "trouble");
        table_add(table, *trouble);
    }
}

static void status_print(void *context, const struct c4p_event *event)
{
    const struct options *options = context;
    const struct c4p_daemon_status *status = event->status;
    const char *titles[2] = {"c4pd", ""};
    char title[300];
    struct table table;

    if (event->kind != C4P_EVENT_STATUS)
        return;
    if (options->json) {
        struct json json = {0};

        describe_status(&json, status);
        json_line_end(&json);
        ask_print_json(&json);
        return;
    }
    snprintf(title, sizeof(title), "%s on host %s", status->version, status->host);
    titles[1] = title;
    table_init(&table, titles, 2, 0);
    rows_add(&table, status);
    table_print(&table, stdout, 0);
    table_free(&table);
}

int status_main(const struct options *options)
{
    struct c4p_client *client = ask_attach(options);
    char error[ASK_ERROR_SIZE];
    struct options own = *options;
    int rc = 0;

    if (client == NULL)
        return 1;
    if (ask(client, c4p_status(client), status_print, &own, error) != 0)
        rc = ask_failed(error);
    c4p_close(client);
    return rc;
}
