#include "daemon/inquiry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cluster/describe.h"
#include "daemon/cluster/post.h"
#include "daemon/jobs/submission.h"

/* A page takes no more jobs when it has grown to this; one more fits well below 256 KiB. */
#define PAGE_SIZE (192u << 10)
#define PAGE_JOBS 1024

/* To a client that cannot ask for the next page: they wait in memory until it has read them. */
#define PAGES_AT_ONCE 16

/* Jobs that are named when it is not clear which is meant. */
#define MAX_NAMED 5

/* What becomes of those that find a page full. */
enum overflow { COUNTED, LEFT, ON_THE_NEXT };

/* A page that is being filled. */
struct page {
    struct inquiry *inquiry;
    size_t count, size;
    size_t limit; /* of `count` */
    size_t seen;
    enum overflow overflow;
    unsigned sent;      /* pages */
    bool left, starved; /* some are left; there was no memory */
    C4p__JobInfo *infos[PAGE_JOBS];
};

static void page_empty(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        c4p__job_info__free_unpacked(page->infos[i], NULL);
    page->count = page->size = 0;
}

static void page_send(struct page *page, bool more)
{
    struct inquiry *inquiry = page->inquiry;
    C4p__Jobs jobs = C4P__JOBS__INIT;

    jobs.n_jobs = page->count;
    jobs.jobs = page->infos;
    jobs.more = more;
    if (page->left && page->overflow == LEFT && page->count > 0)
        jobs.next = page->infos[page->count - 1]->order;
    control_answer(inquiry->control, inquiry->peer, inquiry->id, C4P__EVENT__BODY_JOBS, &jobs);
    page_empty(page);
    page->sent++;
}

/* A copy of a description, with what the sessions know. */
static C4p__JobInfo *info_copy(const struct inquiry *inquiry, const C4p__JobInfo *info,
                               size_t *size)
{
    C4p__JobInfo *copy = NULL;
    C4p__SessionInfo session;
    C4p__JobInfo with = *info;
    uint8_t *bytes;

    if (info->session != NULL) {
        session = *info->session;
        sessions_describe(inquiry->sessions, info->id, &session);
        with.session = &session;
    }
    *size = c4p__job_info__get_packed_size(&with);
    bytes = malloc(*size + 1);
    if (bytes == NULL)
        return NULL;
    c4p__job_info__pack(&with, bytes);
    copy = c4p__job_info__unpack(NULL, *size, bytes);
    free(bytes);
    return copy;
}

static bool page_is_full(const struct page *page)
{
    return page->count == page->limit || page->size >= PAGE_SIZE;
}

static bool on_info(void *context, const C4p__JobInfo *info)
{
    struct page *page = context;
    size_t size;

    page->seen++;
    if (page_is_full(page)) {
        if (page->overflow == COUNTED)
            return true;
        if (page->overflow == LEFT || page->sent == PAGES_AT_ONCE - 1) {
            page->left = true;
            return false;
        }
        page_send(page, true);
    }
    page->infos[page->count] = info_copy(page->inquiry, info, &size);
    if (page->infos[page->count] == NULL) {
        page->starved = true;
        return false;
    }
    page->count++;
    page->size += size;
    return true;
}

/* The jobs that are meant, on the page and those that were sent. -1 with a sentence. */
static int page_fill(struct page *page, const struct store_filter *filter,
                     char reason[CONTROL_REASON_SIZE])
{
    if (jobs_list(page->inquiry->jobs, filter, on_info, page, reason) != 0)
        return -1;
    return page->starved ? control_refuse(reason, "the daemon is out of memory") : 0;
}

static int list_answer(struct page *page, const C4p__List *list, char reason[CONTROL_REASON_SIZE])
{
    const struct store_filter filter = {
        .ended = list->ended,
        .open = true,
        .sessions_only = list->sessions,
        .last = list->last,
        .after = list->after,
    };

    page->overflow = list->page > 0 ? LEFT : ON_THE_NEXT;
    page->limit = list->page > 0 && list->page < PAGE_JOBS ? list->page : PAGE_JOBS;
    if (page_fill(page, &filter, reason) != 0)
        return -1;
    page_send(page, page->left && list->page == 0);
    if (page->left && list->page == 0)
        return control_refuse(
            reason, "there are more jobs than this client can be sent at once: use a "
                    "client of this daemon's release, or ask for fewer (c4py jobs --last N)");
    return 0;
}

int inquiry_list(struct inquiry *inquiry, const C4p__List *list, char reason[CONTROL_REASON_SIZE])
{
    struct page *page = calloc(1, sizeof(*page));
    int rc;

    if (page == NULL)
        return control_refuse(reason, "the daemon is out of memory");
    page->inquiry = inquiry;
    rc = list_answer(page, list, reason);
    page_empty(page);
    free(page);
    return rc;
}

/* ---- one job ---- */

static void candidates_name(const struct page *page, const char *name,
                            char reason[CONTROL_REASON_SIZE])
{
    char id[CONTROL_ID_CHARS + 1];
    int used = snprintf(reason, CONTROL_REASON_SIZE,
                        "%.128s is not clear, %zu jobs could be meant:", name, page->seen);

    for (size_t i = 0; i < page->count; i++) {
        const C4p__JobInfo *info = page->infos[i];

        control_id_format(info->id, id);
        used += snprintf(reason + used, (size_t)(CONTROL_REASON_SIZE - used), "%s %s (%.*s)",
                         i > 0 ? "," : "", id, (int)(info->name.len < 24 ? info->name.len : 24),
                         (const char *)info->name.data);
    }
    if (page->seen > page->count)
        snprintf(reason + used, (size_t)(CONTROL_REASON_SIZE - used), " ...");
}

/* Look for a job: 1 and it is answered, 0 if there is none, -1 with a sentence. */
static int candidates_look(struct inquiry *inquiry, const struct store_filter *filter,
                           const char *name, char reason[CONTROL_REASON_SIZE])
{
    struct page *page = calloc(1, sizeof(*page));
    int rc;

    if (page == NULL)
        return control_refuse(reason, "the daemon is out of memory");
    page->inquiry = inquiry;
    page->limit = MAX_NAMED;
    rc = page_fill(page, filter, reason);
    if (rc == 0 && page->seen == 1 && page->count == 1) {
        page_send(page, false);
        rc = 1;
    } else if (rc == 0 && page->seen > 0) {
        candidates_name(page, name, reason);
        rc = -1;
    }
    page_empty(page);
    free(page);
    return rc;
}

/* A name goes before the beginning of an id: what a user has called a job must not be taken for
 * another one, which has it in its id by chance. */
static int named_look(struct inquiry *inquiry, const char *name, char reason[CONTROL_REASON_SIZE])
{
    struct store_filter by_id = {.ended = true, .open = true};
    const struct store_filter open = {.open = true, .name = name};
    const struct store_filter ended = {.ended = true, .name = name};
    bool is_id = control_id_parse(name, &by_id.id_low, &by_id.id_high) && by_id.id_high != 0;
    bool is_whole = is_id && by_id.id_low == by_id.id_high;
    int rc = 0;

    if (is_whole)
        rc = candidates_look(inquiry, &by_id, name, reason);
    if (rc == 0)
        rc = candidates_look(inquiry, &open, name, reason);
    if (rc == 0)
        rc = candidates_look(inquiry, &ended, name, reason);
    if (rc == 0 && is_id && !is_whole)
        rc = candidates_look(inquiry, &by_id, name, reason);
    return rc;
}

int inquiry_find(struct inquiry *inquiry, const C4p__Find *find, char reason[CONTROL_REASON_SIZE])
{
    char name[SUBMISSION_MAX_NAME + 1] = "";
    int rc;

    if (find->name.len == 0 || find->name.len > SUBMISSION_MAX_NAME ||
        memchr(find->name.data, '\0', find->name.len) != NULL) {
        snprintf(reason, CONTROL_REASON_SIZE,
                 "a job is looked for by its id, or by a name of 1 to "
                 "%d bytes without a NUL",
                 SUBMISSION_MAX_NAME);
        return -1;
    }
    memcpy(name, find->name.data, find->name.len);
    rc = named_look(inquiry, name, reason);
    if (rc == 0)
        snprintf(reason, CONTROL_REASON_SIZE, "there is no job %s", name);
    return rc == 1 ? 0 : -1;
}

/* ---- the daemon ---- */

static uint64_t memory_used(void)
{
    unsigned long long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void inquiry_figures(const struct jobs *jobs, C4p__DaemonStatus *status)
{
    struct jobs_figures figures = jobs_figures(jobs);

    status->pes = figures.slots;
    status->pes_used = figures.used;
    status->queued = figures.queued;
    status->running = figures.running;
    status->sessions = figures.sessions;
    status->rss = memory_used();
}

/* ---- the cluster ---- */

int inquiry_nodes(struct inquiry *inquiry, struct post *post, const C4p__Nodes *nodes,
                  char reason[CONTROL_REASON_SIZE])
{
    struct cluster *cluster = post != NULL ? post_cluster(post) : NULL;
    C4p__NodeList list = C4P__NODE_LIST__INIT;
    struct describe_page page = {.count = 0};

    if (cluster != NULL && describe_nodes(cluster, nodes->after, &page) != 0)
        return control_refuse(reason, "the daemon is out of memory");
    list.nodes = page.nodes;
    list.n_nodes = page.count;
    list.more = page.more;
    control_answer(inquiry->control, inquiry->peer, inquiry->id, C4P__EVENT__BODY_NODE_LIST, &list);
    return 0;
}

void inquiry_cluster(struct post *post, C4p__DaemonStatus *status)
{
    struct cluster *cluster = post != NULL ? post_cluster(post) : NULL;
    const char *troubles[INQUIRY_TROUBLES];
    struct cluster_figures figures;
    size_t count;

    if (cluster == NULL)
        return;
    figures = cluster_figures(cluster);
    status->cluster = (char *)(uintptr_t)cluster_identity(cluster)->cluster_name;
    status->nodes = figures.nodes;
    status->nodes_lost = figures.nodes_lost;
    status->cluster_pes = figures.pes;
    status->cluster_pes_free = figures.pes_free;
    status->refused += figures.refused;
    count = cluster_troubles(cluster, troubles, INQUIRY_TROUBLES);
    for (size_t i = 0; i < count; i++)
        status->troubles[status->n_troubles++] = (char *)(uintptr_t)troubles[i];
}

void inquiry_tell(const struct jobs *jobs, bool draining, struct post *post)
{
    const struct jobs_figures figures = jobs_figures(jobs);
    const struct cluster_load load = {
        .pes = figures.slots,
        .pes_free = figures.used < figures.slots ? figures.slots - figures.used : 0,
        .queued = figures.queued,
        .draining = draining,
    };

    if (post_cluster(post) != NULL)
        cluster_set_load(post_cluster(post), &load);
}
