/*
 * c4py cancel and c4py end: what is named is ended, each by itself; one that cannot be does not
 * keep the others.
 */
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"

/* Make the request that ends a job; -1 with errno. */
typedef int64_t ender(struct c4p_client *client, uint64_t job, const struct options *options);

static int64_t cancel_request(struct c4p_client *client, uint64_t job,
                              const struct options *options)
{
    return c4p_cancel(client, job, options->kill);
}

static int64_t end_request(struct c4p_client *client, uint64_t job, const struct options *options)
{
    (void)options;
    return c4p_end(client, job);
}

/* 0; 1 with a sentence. */
static int end_one(struct c4p_client *client, const struct options *options, const char *word,
                   ender *request, struct ask_job *job, char error[ASK_ERROR_SIZE])
{
    if (ask_find(client, word, job, error) != 0)
        return 1;
    return ask(client, request(client, job->id, options), NULL, NULL, error) == 0 ? 0 : 1;
}

static void describe_result(struct json *json, const char *word, const char *id, const char *error)
{
    json_object_begin(json, NULL);
    json_text(json, "given", word);
    if (id[0] != '\0')
        json_text(json, "id", id);
    else
        json_null(json, "id");
    json_boolean(json, "done", error[0] == '\0');
    json_text(json, "error", error);
    json_object_end(json);
}

static int end_all(const struct options *options, ender *request)
{
    struct c4p_client *client = ask_attach(options);
    struct json json = {0};
    int code = 0;

    if (client == NULL)
        return 1;
    json_array_begin(&json, NULL);
    for (char *const *word = options->command; *word != NULL; word++) {
        char error[ASK_ERROR_SIZE] = "", id[C4P_ID_SIZE] = "";
        struct ask_job job;
        int rc = end_one(client, options, *word, request, &job, error);

        if (job.id != 0)
            c4p_id_format(job.id, id);
        if (options->json)
            describe_result(&json, *word, id, error);
        else if (rc == 0)
            puts(id);
        if (rc != 0)
            code = ask_failed(error);
    }
    json_array_end(&json);
    json_line_end(&json);
    c4p_close(client);
    if (!options->json)
        json_reset(&json);
    return ask_print_json(&json) != 0 ? 1 : code;
}

int cancel_main(const struct options *options)
{
    return end_all(options, cancel_request);
}

int end_main(const struct options *options)
{
    return end_all(options, end_request);
}
