/* Finding the end of a JSON object in a stream, and the id in it: shared by the subscriber and the client.
 *
 * Both peers read objects that follow each other with nothing in between, so the end of one is only known by matching its braces,
 * and a brace inside a string is no brace. The scan remembers where it was: a large object that arrives in many reads is walked once.
 */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { PADDING = 16 }; /* a buffer that is scanned can be read this far past its end */

enum scanned { BROKEN = -1, PARTIAL = 0, COMPLETE = 1 };

struct scan {
    size_t at;     /* how far the object has been walked; its length when COMPLETE */
    size_t string; /* where the current string began, 0 outside strings */
    size_t id;     /* behind the key "id" of the outermost object, 0 if there is none */
    size_t error;  /* behind the key "error", likewise */
    int depth;
    bool value; /* behind a colon of the outermost object: a string here is no key */
};

static inline size_t quote_or_backslash(const char *text, size_t at, size_t end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    for (; at < end; at += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(text + at));
        int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));
        if (found) {
            at += (size_t)__builtin_ctz((unsigned)found);
            break;
        }
    }
    return at < end ? at : end;
#else
    while (at < end && text[at] != '"' && text[at] != '\\')
        at++;
    return at;
#endif
}

/* Walks the object that begins at text[0], from where the last call stopped, through what has arrived (text[..end]). */
static inline enum scanned scan_object(struct scan *scan, const char *text, size_t end)
{
    size_t at = scan->at;
    if (scan->string)
        goto in_string;
    while (at < end) {
        switch (text[at++]) {
        case '"':
            if (!scan->depth)
                return BROKEN;
            scan->string = at;
        in_string:
            for (;;) {
                at = quote_or_backslash(text, at, end);
                if (at == end || (text[at] == '\\' && at + 1 == end)) {
                    scan->at = at; /* at a backslash without its character too: it is looked at again */
                    return PARTIAL;
                }
                if (text[at] == '"')
                    break;
                at += 2;
            }
            if (scan->depth == 1 && !scan->value) {
                const char *key = text + scan->string;
                size_t length = at - scan->string;
                if (length == 2 && memcmp(key, "id", 2) == 0)
                    scan->id = at + 1;
                else if (length == 5 && memcmp(key, "error", 5) == 0)
                    scan->error = at + 1;
            }
            scan->string = 0;
            at++;
            break;
        case ':':
            if (scan->depth == 1)
                scan->value = true;
            break;
        case ',':
            if (scan->depth == 1)
                scan->value = false;
            break;
        case '[':
            if (!scan->depth)
                return BROKEN;
            scan->depth++;
            break;
        case '{':
            scan->depth++;
            break;
        case ']':
        case '}':
            if (--scan->depth == 0) {
                scan->at = at;
                return COMPLETE;
            }
            /* fall through */
        default:
            if (scan->depth <= 0)
                return BROKEN;
        }
    }
    scan->at = at;
    return PARTIAL;
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The value behind a key of a COMPLETE object, as it stands in the text: its first character, and its length if it is no list or object. */
static inline const char *value_behind(const char *text, size_t at, size_t *length)
{
    while (is_space(text[at]) || text[at] == ':')
        at++;
    const char *value = text + at, *end = value;
    if (*end == '"') {
        for (end++; *end != '"'; end++)
            if (*end == '\\')
                end++;
        end++;
    } else {
        while (*end != ',' && *end != '}' && !is_space(*end))
            end++;
    }
    *length = (size_t)(end - value);
    return value;
}

#endif
