/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An incremental RFC 8259 tokenizer.
 *
 * Two state machines, one inside the other. The outer one (Expect) knows the grammar of values:
 * what may come next between tokens, with one bit per open container that says array or object. The
 * inner one (Token) knows how far a token has got that a piece of input may have cut in two. The
 * only memory that grows is the text of one string or number, and it is bounded.
 *
 * Stricter than most: no byte-order mark, no NUL in strings (the consumers treat text as C
 * strings), UTF-8 must be valid. An unpaired surrogate escape becomes U+FFFD, as in Go. */
#include "base/json-stream.h"

#include "base/error.h"
#include "base/json-scan.h"
#include "base/json.h"

#include <string.h>

enum { MAX_TEXT = 1 << 20, MAX_NUMBER = 400 }; /* bytes */

typedef enum {
    EXPECT_VALUE,
    EXPECT_VALUE_OR_END, /* after [ */
    EXPECT_KEY,          /* after , in an object */
    EXPECT_KEY_OR_END,   /* after { */
    EXPECT_COLON,
    EXPECT_COMMA_OR_END,
    EXPECT_NOTHING, /* after the value of the document */
} Expect;

typedef enum {
    TOKEN_NONE,
    TOKEN_STRING,
    TOKEN_ESCAPE,  /* after a backslash */
    TOKEN_UNICODE, /* inside the digits of \uXXXX */
    TOKEN_NUMBER,
    TOKEN_LITERAL,
} Token;

G_STATIC_ASSERT(VMS_JSON_MAX_DEPTH <= 64);

struct VmsJsonStream {
    VmsJsonEventFunc func;
    void *user;
    uint64_t at; /* bytes consumed, for messages */
    bool failed;

    Expect expect;
    uint64_t arrays; /* bit n: the container at depth n is an array */
    unsigned depth;

    Token token;
    bool is_key;
    bool ascii; /* no byte of the string so far was above 0x7f */
    GString *text;
    unsigned digits; /* of \uXXXX seen */
    unsigned unit;   /* the UTF-16 unit being read */
    unsigned high;   /* a high surrogate waiting for its low one, or 0 */
    const char *literal;
    size_t literal_at;
};

VmsJsonStream *vms_json_stream_new(VmsJsonEventFunc func, void *user)
{
    VmsJsonStream *stream = g_new0(VmsJsonStream, 1);

    stream->func = func;
    stream->user = user;
    stream->expect = EXPECT_VALUE;
    stream->text = g_string_new(NULL);
    return stream;
}

void vms_json_stream_free(VmsJsonStream *stream)
{
    if (stream != NULL) {
        g_string_free(stream->text, TRUE);
        g_free(stream);
    }
}

static bool malformed(VmsJsonStream *stream, const char *what, GError **error)
{
    return vms_fail(error, VMS_ERROR_INVALID, "JSON: byte %" G_GUINT64_FORMAT ": %s", stream->at,
                    what);
}

static bool emit(VmsJsonStream *stream, VmsJsonEvent event, GError **error)
{
    return stream->func(stream->user, event, "", 0, error);
}

static bool emit_text(VmsJsonStream *stream, VmsJsonEvent event, GError **error)
{
    return stream->func(stream->user, event, stream->text->str, stream->text->len, error);
}

static void value_ended(VmsJsonStream *stream)
{
    stream->token = TOKEN_NONE;
    stream->expect = stream->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static bool begin_container(VmsJsonStream *stream, bool array, GError **error)
{
    if (stream->depth >= VMS_JSON_MAX_DEPTH)
        return malformed(stream, "nested too deeply", error);
    uint64_t bit = UINT64_C(1) << stream->depth;
    stream->arrays = array ? stream->arrays | bit : stream->arrays & ~bit;
    stream->depth++;
    stream->expect = array ? EXPECT_VALUE_OR_END : EXPECT_KEY_OR_END;
    return emit(stream, array ? VMS_JSON_BEGIN_ARRAY : VMS_JSON_BEGIN_OBJECT, error);
}

static bool in_array(const VmsJsonStream *stream)
{
    return (stream->arrays >> (stream->depth - 1) & 1) != 0;
}

static bool end_container(VmsJsonStream *stream, char c, GError **error)
{
    bool array = in_array(stream);

    if (array != (c == ']'))
        return malformed(stream, "the wrong bracket closes here", error);
    stream->depth--;
    value_ended(stream);
    return emit(stream, array ? VMS_JSON_END_ARRAY : VMS_JSON_END_OBJECT, error);
}

static void begin_string(VmsJsonStream *stream, bool is_key)
{
    stream->token = TOKEN_STRING;
    stream->is_key = is_key;
    stream->ascii = true;
    stream->high = 0;
    g_string_truncate(stream->text, 0);
}

static bool begin_value(VmsJsonStream *stream, char c, GError **error)
{
    switch (c) {
    case '{':
    case '[':
        return begin_container(stream, c == '[', error);
    case '"':
        begin_string(stream, false);
        return true;
    case 't':
    case 'f':
    case 'n':
        stream->token = TOKEN_LITERAL;
        stream->literal = c == 't' ? "true" : c == 'f' ? "false" : "null";
        stream->literal_at = 1;
        return true;
    default:
        if (c != '-' && !g_ascii_isdigit(c))
            return malformed(stream, "a value was expected", error);
        stream->token = TOKEN_NUMBER;
        g_string_truncate(stream->text, 0);
        g_string_append_c(stream->text, c);
        return true;
    }
}

/* A byte between tokens. */
static bool structure(VmsJsonStream *stream, char c, GError **error)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return true;
    switch (stream->expect) {
    case EXPECT_VALUE_OR_END:
        if (c == ']')
            return end_container(stream, c, error);
        return begin_value(stream, c, error);
    case EXPECT_VALUE:
        return begin_value(stream, c, error);
    case EXPECT_KEY_OR_END:
    case EXPECT_KEY:
        if (c == '}' && stream->expect == EXPECT_KEY_OR_END)
            return end_container(stream, c, error);
        if (c != '"')
            return malformed(stream, "a key was expected", error);
        begin_string(stream, true);
        return true;
    case EXPECT_COLON:
        stream->expect = EXPECT_VALUE;
        return c == ':' || malformed(stream, "a colon was expected", error);
    case EXPECT_COMMA_OR_END:
        if (c == ']' || c == '}')
            return end_container(stream, c, error);
        stream->expect = in_array(stream) ? EXPECT_VALUE : EXPECT_KEY;
        return c == ',' || malformed(stream, "a comma or an end was expected", error);
    case EXPECT_NOTHING:
        break;
    }
    return malformed(stream, "something follows the document", error);
}

static void flush_high(VmsJsonStream *stream)
{
    if (stream->high != 0) {
        g_string_append_unichar(stream->text, 0xfffd);
        stream->high = 0;
    }
}

static bool end_string(VmsJsonStream *stream, GError **error)
{
    flush_high(stream);
    if (!stream->ascii && !g_utf8_validate(stream->text->str, (gssize)stream->text->len, NULL))
        return malformed(stream, "a string is not UTF-8", error);
    if (stream->is_key) {
        stream->token = TOKEN_NONE;
        stream->expect = EXPECT_COLON;
        return emit_text(stream, VMS_JSON_KEY, error);
    }
    value_ended(stream);
    return emit_text(stream, VMS_JSON_STRING, error);
}

static bool string_run(VmsJsonStream *stream, const char *data, size_t len, bool ascii,
                       GError **error)
{
    flush_high(stream);
    stream->ascii = stream->ascii && ascii;
    if (stream->text->len + len > MAX_TEXT)
        return malformed(stream, "a string is longer than 1 MiB", error);
    g_string_append_len(stream->text, data, (gssize)len);
    return true;
}

static bool string_byte(VmsJsonStream *stream, char c, GError **error)
{
    if (c == '"')
        return end_string(stream, error);
    if (stream->text->len > MAX_TEXT)
        return malformed(stream, "a string is longer than 1 MiB", error);
    stream->token = TOKEN_ESCAPE;
    return c == '\\' || malformed(stream, "a control character in a string", error);
}

static bool escape(VmsJsonStream *stream, char c, GError **error)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *found = c != '\0' ? strchr(from, c) : NULL;

    if (c == 'u') {
        stream->token = TOKEN_UNICODE;
        stream->digits = 0;
        stream->unit = 0;
        return true;
    }
    if (found == NULL)
        return malformed(stream, "an unknown escape", error);
    flush_high(stream);
    g_string_append_c(stream->text, to[found - from]);
    stream->token = TOKEN_STRING;
    return true;
}

static bool unicode_digit(VmsJsonStream *stream, char c, GError **error)
{
    if (!g_ascii_isxdigit(c))
        return malformed(stream, "four hex digits were expected", error);
    stream->unit = stream->unit << 4 | (unsigned)g_ascii_xdigit_value(c);
    if (++stream->digits < 4)
        return true;
    stream->token = TOKEN_STRING;
    if (stream->unit == 0)
        return malformed(stream, "a NUL in a string", error);
    if (stream->unit >= 0xdc00 && stream->unit <= 0xdfff && stream->high != 0) {
        unsigned code = 0x10000 + ((stream->high - 0xd800) << 10) + (stream->unit - 0xdc00);

        g_string_append_unichar(stream->text, code);
        stream->high = 0;
        return true;
    }
    flush_high(stream);
    if (stream->unit >= 0xd800 && stream->unit <= 0xdbff) {
        stream->high = stream->unit;
        return true;
    }
    g_string_append_unichar(
        stream->text, stream->unit >= 0xdc00 && stream->unit <= 0xdfff ? 0xfffd : stream->unit);
    return true;
}

static const char *skip_digits(const char *p)
{
    while (g_ascii_isdigit(*p))
        p++;
    return p;
}

static bool is_number(const char *p)
{
    p += *p == '-';
    if (!g_ascii_isdigit(*p))
        return false;
    p = *p == '0' ? p + 1 : skip_digits(p);
    if (*p == '.') {
        if (!g_ascii_isdigit(*++p))
            return false;
        p = skip_digits(p);
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        if (!g_ascii_isdigit(*p))
            return false;
        p = skip_digits(p);
    }
    return *p == '\0';
}

static bool end_number(VmsJsonStream *stream, GError **error)
{
    if (!is_number(stream->text->str))
        return malformed(stream, "a malformed number", error);
    value_ended(stream);
    return emit_text(stream, VMS_JSON_NUMBER, error);
}

/* A byte in or just behind a number. */
static bool number_byte(VmsJsonStream *stream, char c, GError **error)
{
    if (c != '\0' && strchr("+-.eE0123456789", c) != NULL) {
        g_string_append_c(stream->text, c);
        return stream->text->len <= MAX_NUMBER || malformed(stream, "a number too long", error);
    }
    return end_number(stream, error) && structure(stream, c, error);
}

static bool literal_byte(VmsJsonStream *stream, char c, GError **error)
{
    if (c != stream->literal[stream->literal_at])
        return malformed(stream, "a value was expected", error);
    if (stream->literal[++stream->literal_at] != '\0')
        return true;
    value_ended(stream);
    return emit(stream,
                stream->literal[0] == 't'   ? VMS_JSON_TRUE
                : stream->literal[0] == 'f' ? VMS_JSON_FALSE
                                            : VMS_JSON_NULL,
                error);
}

static bool one_byte(VmsJsonStream *stream, char c, GError **error)
{
    switch (stream->token) {
    case TOKEN_ESCAPE:
        return escape(stream, c, error);
    case TOKEN_UNICODE:
        return unicode_digit(stream, c, error);
    case TOKEN_NUMBER:
        return number_byte(stream, c, error);
    case TOKEN_LITERAL:
        return literal_byte(stream, c, error);
    case TOKEN_STRING:
        return string_byte(stream, c, error);
    case TOKEN_NONE:
        break;
    }
    return structure(stream, c, error);
}

bool vms_json_stream_feed(VmsJsonStream *stream, const void *data, size_t len, GError **error)
{
    const char *p = data;

    while (len > 0 && !stream->failed) {
        bool ascii = true;
        size_t run = stream->token == TOKEN_STRING ? vms_json_plain_run(p, len, &ascii) : 0;
        size_t used = MAX(run, 1);

        if (run > 0 ? !string_run(stream, p, run, ascii, error) : !one_byte(stream, *p, error)) {
            stream->failed = true;
            return false;
        }
        p += used;
        len -= used;
        stream->at += used;
    }
    return !stream->failed || malformed(stream, "nothing is read after an error", error);
}

bool vms_json_stream_finish(VmsJsonStream *stream, GError **error)
{
    if (!stream->failed && stream->token == TOKEN_NUMBER && !end_number(stream, error))
        return false;
    if (stream->failed || stream->token != TOKEN_NONE || stream->expect != EXPECT_NOTHING)
        return malformed(stream, "the document ends early", error);
    return true;
}
