/*
 * c4pd init, join and leave: a host becomes a node of a cluster, and ceases to be one. They work on
 * the state directory; a daemon that runs there is told to look again.
 */
#define _GNU_SOURCE
#include "daemon/commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/announcement.h"
#include "daemon/ask.h"
#include "daemon/cluster/enrol.h"
#include "daemon/state_dir.h"
#include "proto/clock.h"
#include "proto/place.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

#define JOIN_TIMEOUT_MS 10000

/* What a daemon gets to take up what has changed, and how often it is asked. */
#define TAKE_UP_MS 10000
#define TAKE_UP_STEP_MS 50

static int sentence(const char *text, int code)
{
    fprintf(stderr, "c4pd: %s\n", text);
    return code;
}

/* ---- the daemon that runs ---- */

/* Is it this node now; NULL: none? Alone, it refuses the question. */
static bool daemon_is(const struct options *options, const struct node_key *key)
{
    C4p__AdminTokens question = C4P__ADMIN_TOKENS__INIT;
    C4p__AdminAnswer *answer = ask(options->state_dir, C4P__ADMIN__BODY_TOKENS, &question);
    bool same = false;

    if (answer != NULL && key == NULL)
        same = answer->key.len == 0;
    else if (answer != NULL)
        same = answer->key.len == NODE_KEY_SIZE &&
               memcmp(answer->key.data, key->bytes, NODE_KEY_SIZE) == 0;
    ask_free(answer);
    return same;
}

/* Wait until it has looked again. False: it did not, or has ended. */
static bool daemon_await(const struct options *options, const struct announcement *daemon,
                         const struct node_key *key)
{
    const int64_t deadline = clock_ms() + TAKE_UP_MS;
    struct pollfd end = {daemon->pidfd, POLLIN, 0};

    while (!daemon_is(options, key))
        if (clock_ms() >= deadline || poll(&end, 1, TAKE_UP_STEP_MS) > 0)
            return false;
    return true;
}

/* The files are other ones, of the node with this key or (NULL) of none: a daemon that runs takes them
 * up. */
static int daemon_tell(const struct options *options, const struct node_key *key)
{
    struct announcement daemon;
    bool done;

    if (!announcement_find(options->state_dir, &daemon)) {
        if (key != NULL)
            puts("the daemon of this host does not run: c4pd start");
        return EXIT_CODE_OK;
    }
    done = pidfd_send_signal(daemon.pidfd, SIGHUP, NULL, 0) == 0 &&
           daemon_await(options, &daemon, key);
    close(daemon.pidfd);
    if (done)
        return EXIT_CODE_OK;
    fprintf(stderr,
            "c4pd: the daemon that runs (pid %d) has not taken that up: its log says why "
            "(then: c4pd restart)\n",
            (int)daemon.pid);
    return EXIT_CODE_FAILED;
}

/* ---- init, join ---- */

/* What others call this host. */
static int host_name(char name[NODE_NAME_MAX + 1])
{
    char host[HOST_NAME_MAX + 1] = "";

    gethostname(host, sizeof(host) - 1);
    snprintf(name, NODE_NAME_MAX + 1, "%.*s", NODE_NAME_MAX, host);
    if (trust_name_valid(KEY_NODE, name))
        return 0;
    fprintf(stderr,
            "c4pd: %s: this host has no name that a node could have: give it one (--name, "
            "of init: --node)\n",
            host);
    return -1;
}

/* The directory, as a daemon would make it: nobody needs to have started one before. */
static int directory_make(const struct options *options)
{
    struct state_dir directory;
    char error[STATE_DIR_ERROR_SIZE];
    struct announcement daemon;
    enum state_dir_result result;

    if (announcement_find(options->state_dir, &daemon)) {
        close(daemon.pidfd);
        return EXIT_CODE_OK;
    }
    result = state_dir_open(&directory, options->state_dir, error);
    state_dir_close(&directory);
    if (result == STATE_DIR_OPEN)
        return EXIT_CODE_OK;
    return sentence(error, result == STATE_DIR_REFUSED ? EXIT_CODE_REFUSED : EXIT_CODE_FAILED);
}

/* By its key. */
static int founded_tell(const struct options *options)
{
    char error[TRUST_ERROR_SIZE];
    struct trust *trust = trust_open(options->state_dir, error);
    int code;

    if (trust == NULL)
        return sentence(error, EXIT_CODE_FAILED);
    printf(
        "the cluster %s is founded, and this node is %s (other hosts come in with: c4pd token)\n",
        trust_identity(trust)->cluster_name, trust_identity(trust)->name);
    fflush(stdout);
    code = daemon_tell(options, &trust_identity(trust)->public_key);
    trust_close(trust);
    return code;
}

int init_main(const struct options *options)
{
    const char *cluster = options->name != NULL ? options->name : "c4p", *node = options->node;
    char error[TRUST_ERROR_SIZE], name[NODE_NAME_MAX + 1];
    int code;

    if (node == NULL && host_name(name) != 0)
        return EXIT_CODE_USAGE;
    code = directory_make(options);
    if (code != EXIT_CODE_OK)
        return code;
    if (trust_init(options->state_dir, cluster, node != NULL ? node : name, error) == 0)
        return founded_tell(options);
    return sentence(error, trust_exists(options->state_dir) ? EXIT_CODE_REFUSED : EXIT_CODE_USAGE);
}

/* What is wrong with what was typed is known before anybody is asked. */
/* The first line of standard input, so that no list of processes shows the token. */
static int token_input(char text[TRUST_TOKEN_MAX])
{
    size_t size;

    if (isatty(STDIN_FILENO))
        fputs("token: ", stderr);
    if (fgets(text, TRUST_TOKEN_MAX, stdin) == NULL)
        text[0] = '\0';
    size = strcspn(text, "\r\n");
    text[size] = '\0';
    if (size > 0)
        return EXIT_CODE_OK;
    return sentence("there is no token on standard input (c4pd token, on a node of the cluster, "
                    "prints one)",
                    EXIT_CODE_USAGE);
}

static int join_failed(const struct options *options, const char *text, const char *error)
{
    struct token token;
    char reason[TRUST_ERROR_SIZE];
    int code = EXIT_CODE_FAILED;

    if (token_read(text, &token, reason) != 0)
        code = EXIT_CODE_USAGE;
    else if (trust_exists(options->state_dir))
        code = EXIT_CODE_REFUSED;
    sodium_memzero(&token, sizeof(token));
    return sentence(error, code);
}

static int token_join(const struct options *options, const char *text)
{
    char name[NODE_NAME_MAX + 1], error[ENROL_ERROR_SIZE];
    struct enrol_request request = {
        .state_dir = options->state_dir,
        .token = text,
        .name = options->name,
        .release = C4P_VERSION,
        .timeout_ms = options->timed ? options->timeout_ms : JOIN_TIMEOUT_MS,
    };
    struct trust_identity identity;
    int code;

    if (options->name == NULL && host_name(name) != 0)
        return EXIT_CODE_USAGE;
    if (options->name == NULL)
        request.name = name;
    code = directory_make(options);
    if (code != EXIT_CODE_OK)
        return code;
    if (enrol_join(&request, &identity, error) != 0)
        return join_failed(options, text, error);
    printf("%s is a node of the cluster %s\n", identity.name, identity.cluster_name);
    sodium_memzero(identity.secret_key, sizeof(identity.secret_key));
    fflush(stdout);
    return daemon_tell(options, &identity.public_key);
}

int join_main(const struct options *options)
{
    char text[TRUST_TOKEN_MAX];
    int code;

    if (strcmp(options->arguments[0], "-") != 0)
        return token_join(options, options->arguments[0]);
    code = token_input(text);
    if (code == EXIT_CODE_OK)
        code = token_join(options, text);
    sodium_memzero(text, sizeof(text));
    return code;
}

/* ---- leave ---- */

/* The others hear it from the daemon that runs. */
static int others_tell(const struct options *options)
{
    C4p__AdminLeave question = C4P__ADMIN_LEAVE__INIT;
    C4p__AdminAnswer *answer;
    int code;

    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_LEAVE, &question, &code);
    if (code == EXIT_CODE_NOT_RUNNING)
        fprintf(stderr, "c4pd: it tells the others; c4pd leave --now leaves without that\n");
    ask_free(answer);
    return code;
}

int leave_main(const struct options *options)
{
    char error[TRUST_ERROR_SIZE];
    int code = EXIT_CODE_OK;

    if (!trust_exists(options->state_dir) && !options->now)
        return sentence("this node is alone, in no cluster", EXIT_CODE_FAILED);
    if (!options->now)
        code = others_tell(options);
    if (code != EXIT_CODE_OK)
        return code;
    if (trust_forget(options->state_dir, error) != 0)
        return sentence(error, EXIT_CODE_FAILED);
    puts("this node belongs to no cluster any more");
    fflush(stdout);
    return daemon_tell(options, NULL);
}
