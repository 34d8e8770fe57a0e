/*
 * c4py jobs and c4py sessions: lists.
 */
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "client/cli/duration.h"
#include "proto/table.h"

/* How one row is shown, in each of the forms. */
struct list_form {
    const char *titles[TABLE_MAX_COLUMNS];
    size_t columns;
    unsigned right;
    void (*row)(struct table *table, const struct c4p_job_info *info);
    void (*describe)(struct json *json, const struct c4p_job_info *info);
    const char *empty; /* what is said when there is nothing */
};

struct list {
    const struct list_form *form;
    const struct options *options;
    struct table table;
    struct json json;
    size_t rows;
};

/* Room for where a job is, and for one host of that with what follows it. */
#define HOSTS_SIZE 512
#define HOST_ROOM 144

/*
 * What is kept of a long list before a part of it is printed. A reader that is slow, as a pager is, keeps
 * us from saying to a daemon of another machine that we are still there: so it is not less.
 */
#define ROWS_KEPT 4096
#define JSON_KEPT ((size_t)4 << 20)

/* ---- cells ---- */

/* How long it has been so. */
static void add_age(struct table *table, const struct c4p_job_info *info)
{
    uint64_t now = ask_time_of_day(), since = info->submitted;
    char text[DURATION_SIZE];

    if (info->started != 0 && info->state > C4P_STATE_QUEUED)
        since = info->started;
    if (state_is_over(info->state))
        since = info->ended;
    if (since == 0)
        table_add(table, "-");
    else
        table_add(table, duration_format(now > since ? now - since : 0, text));
}

static void add_pes(struct table *table, const struct c4p_job_info *info)
{
    if (info->pes == 0)
        table_add(table, "any");
    else
        table_add_format(table, "%u", info->pes);
}

/* "on alpha 0-1, beta 2", and how many more there are; empty: on one host, or nowhere yet. */
static const char *hosts_format(const struct c4p_job_info *info, char text[HOSTS_SIZE])
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < info->host_count; i++) {
        const struct c4p_job_host *host = &info->hosts[i];
        const char *before = i == 0 ? "on " : ", ";

        if (used > HOSTS_SIZE - HOST_ROOM) {
            snprintf(text + used, HOSTS_SIZE - used, " and %zu more", info->host_count - i);
            break;
        }
        if (host->pes > 1)
            used += (size_t)snprintf(text + used, HOSTS_SIZE - used, "%s%.63s %u-%u", before,
                                     host->name, host->first_pe, host->first_pe + host->pes - 1);
        else
            used += (size_t)snprintf(text + used, HOSTS_SIZE - used, "%s%.63s %u", before,
                                     host->name, host->first_pe);
    }
    return text;
}

/* What it waits for, why it ended, or where it is. */
static void add_detail(struct table *table, const struct c4p_job_info *info)
{
    bool over = state_is_over(info->state);
    const char *said = over ? info->message : info->reason;
    char hosts[HOSTS_SIZE];

    if (said[0] != '\0')
        table_add(table, said);
    else if (over && info->exit_code != 0)
        table_add_format(table, "exit code %d", info->exit_code);
    else
        table_add_format(table, "%s%s%s", info->session ? "a session" : "",
                         info->session && info->host_count > 0 ? " " : "",
                         hosts_format(info, hosts));
}

static void add_identity(struct table *table, const struct c4p_job_info *info, const char *name)
{
    char id[C4P_ID_SIZE];

    table_add(table, c4p_id_format(info->id, id));
    table_add(table, name);
    table_add(table, c4p_state_name(info->state));
    add_pes(table, info);
}

static void job_row(struct table *table, const struct c4p_job_info *info)
{
    add_identity(table, info, info->name[0] != '\0' ? info->name : "-");
    add_age(table, info);
    add_detail(table, info);
}

static void session_row(struct table *table, const struct c4p_job_info *info)
{
    uint64_t now = ask_time_of_day();
    char text[DURATION_SIZE];

    add_identity(table, info, info->session_name[0] != '\0' ? info->session_name : "-");
    table_add_format(table, "%u", info->clients);
    add_age(table, info);
    if (info->expires != 0)
        table_add_format(table, "in %s if nobody comes",
                         duration_format(info->expires > now ? info->expires - now : 0, text));
    else
        table_add(table, info->session_name[0] != '\0' ? "" : "with its client");
}

static const struct list_form jobs_form = {
    .titles = {"ID", "NAME", "STATE", "PES", "SINCE", "DETAIL"},
    .columns = 6,
    .right = 1 << 3 | 1 << 4,
    .row = job_row,
    .describe = describe_job,
    .empty = "no job is queued or runs (c4py jobs --all lists those that are over)",
};

static const struct list_form sessions_form = {
    .titles = {"ID", "SESSION", "STATE", "PES", "CLIENTS", "SINCE", "ENDS"},
    .columns = 7,
    .right = 1 << 3 | 1 << 4 | 1 << 5,
    .row = session_row,
    .describe = describe_session,
    .empty = "there is no session",
};

/* ---- the list ---- */

static void json_add(struct list *list, const struct c4p_job_info *info)
{
    list->form->describe(&list->json, info);
    if (list->json.size >= JSON_KEPT)
        json_flush(&list->json, stdout);
}

static void row_add(struct list *list, const struct c4p_job_info *info)
{
    list->form->row(&list->table, info);
    if (list->rows % ROWS_KEPT == 0 && !list->table.failed)
        table_print(&list->table, stdout, table_screen_width());
}

static void on_job(void *context, const struct c4p_event *event)
{
    struct list *list = context;
    char id[C4P_ID_SIZE];

    if (event->kind != C4P_EVENT_JOB)
        return;
    list->rows++;
    if (list->options->json)
        json_add(list, event->info);
    else if (list->options->ids)
        puts(c4p_id_format(event->info->id, id));
    else
        row_add(list, event->info);
}

static int list_print(struct list *list)
{
    if (list->options->json) {
        json_array_end(&list->json);
        json_line_end(&list->json);
        return ask_print_json(&list->json);
    }
    if (list->options->ids)
        return 0;
    if (list->table.failed)
        return ask_failed("memory is exhausted (c4py jobs --last N lists fewer)");
    if (list->rows > 0)
        table_print(&list->table, stdout, table_screen_width());
    else
        ask_failed(list->form->empty);
    return 0;
}

static int list_main(const struct options *options, const struct list_form *form,
                     const struct c4p_list_options *which)
{
    struct list list = {.form = form, .options = options};
    struct c4p_client *client = ask_attach(options);
    char error[ASK_ERROR_SIZE];
    int rc;

    if (client == NULL)
        return 1;
    table_init(&list.table, form->titles, form->columns, form->right);
    json_array_begin(&list.json, NULL);
    if (ask(client, c4p_list(client, which), on_job, &list, error) == 0)
        rc = list_print(&list);
    else
        rc = ask_failed(error);
    table_free(&list.table);
    json_free(&list.json);
    c4p_close(client);
    return rc;
}

int jobs_main(const struct options *options)
{
    const struct c4p_list_options which = {
        .ended = options->all || options->last != UINT32_MAX,
        .last = options->last != UINT32_MAX ? options->last : 0,
    };

    return list_main(options, &jobs_form, &which);
}

int sessions_main(const struct options *options)
{
    return list_main(options, &sessions_form, &(struct c4p_list_options){.sessions = true});
}
