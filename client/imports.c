/*
 * What Python source imports at its top level. This is a hint for the check whether another host can
 * run a program: what is imported further inside, or in a `try`, may well be missing.
 */
#include <ctype.h>
#include <string.h>

#include "client/bundle.h"

struct scanner {
    const char *at, *end;
    unsigned depth; /* open brackets */
};

static bool is_name(char character)
{
    return isalnum((unsigned char)character) || character == '_' || (character & 0x80) != 0;
}

/* ---- passing over what is no import ---- */

/* Behind a string that begins here. */
static void string_skip(struct scanner *scanner)
{
    char quote = *scanner->at;
    bool triple =
        scanner->end - scanner->at >= 3 && scanner->at[1] == quote && scanner->at[2] == quote;

    scanner->at += triple ? 3 : 1;
    while (scanner->at < scanner->end) {
        char character = *scanner->at++;

        if (character == '\\' && scanner->at < scanner->end)
            scanner->at++;
        else if (character == '\n' && !triple)
            return;
        else if (character == quote && !triple)
            return;
        else if (character == quote && scanner->end - scanner->at >= 2 && scanner->at[0] == quote &&
                 scanner->at[1] == quote) {
            scanner->at += 2;
            return;
        }
    }
}

/* To the beginning of the next logical line. */
static void line_skip(struct scanner *scanner)
{
    while (scanner->at < scanner->end) {
        char character = *scanner->at;

        if (character == '"' || character == '\'') {
            string_skip(scanner);
            continue;
        }
        scanner->at++;
        if (character == '#')
            while (scanner->at < scanner->end && *scanner->at != '\n')
                scanner->at++;
        else if (character == '\\' && scanner->at < scanner->end)
            scanner->at++;
        else if (strchr("([{", character) != NULL && character != '\0')
            scanner->depth++;
        else if (strchr(")]}", character) != NULL && character != '\0')
            scanner->depth -= scanner->depth > 0;
        else if (character == '\n' && scanner->depth == 0)
            return;
    }
}

/* ---- imports ---- */

static void blanks_skip(struct scanner *scanner)
{
    while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\t'))
        scanner->at++;
}

/* Is this word next, and a blank behind it? */
static bool word_take(struct scanner *scanner, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(scanner->end - scanner->at) <= length || memcmp(scanner->at, word, length) != 0 ||
        (scanner->at[length] != ' ' && scanner->at[length] != '\t'))
        return false;
    scanner->at += length;
    blanks_skip(scanner);
    return true;
}

static size_t name_take(struct scanner *scanner)
{
    const char *begin = scanner->at;

    while (scanner->at < scanner->end && is_name(*scanner->at))
        scanner->at++;
    return (size_t)(scanner->at - begin);
}

/* a.b as c, d: the first name of each. */
static void names_take(struct scanner *scanner,
                       void (*found)(void *context, const char *name, size_t length), void *context)
{
    for (;;) {
        const char *name = scanner->at;
        size_t length = name_take(scanner);

        if (length == 0)
            return;
        found(context, name, length);
        while (scanner->at < scanner->end &&
               (is_name(*scanner->at) || strchr(". \t", *scanner->at) != NULL) &&
               *scanner->at != '\0')
            scanner->at++;
        if (scanner->at == scanner->end || *scanner->at != ',')
            return;
        scanner->at++;
        blanks_skip(scanner);
    }
}

void imports_scan(const char *text, size_t size,
                  void (*found)(void *context, const char *name, size_t length), void *context)
{
    struct scanner scanner = {text, text + size, 0};

    while (scanner.at < scanner.end) {
        if (word_take(&scanner, "import")) {
            names_take(&scanner, found, context);
        } else if (word_take(&scanner, "from")) {
            const char *name = scanner.at;
            size_t length = name_take(&scanner);

            if (length > 0)
                found(context, name, length);
        }
        line_skip(&scanner);
    }
}
