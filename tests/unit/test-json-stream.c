/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "base/json-scan.h"
#include "base/json-stream.h"
#include "base/json.h"

#include <string.h>

static bool record(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    static const char *const names[] = {
        "{", "}", "[", "]", "k:", "s:", "n:", "true", "false", "null"};
    GString *events = user;

    g_assert_cmpuint(strlen(text), ==, len);
    g_string_append_printf(events, "%s%s ", names[event], text);
    return true;
}

/* Feeds text in three pieces. */
static char *run(const char *text, size_t len, size_t first, size_t second, GError **error)
{
    g_autoptr(GString) events = g_string_new(NULL);
    g_autoptr(VmsJsonStream) stream = vms_json_stream_new(record, events);

    if (!vms_json_stream_feed(stream, text, first, error) ||
        !vms_json_stream_feed(stream, text + first, second - first, error) ||
        !vms_json_stream_feed(stream, text + second, len - second, error) ||
        !vms_json_stream_finish(stream, error))
        return NULL;
    return g_string_free(g_steal_pointer(&events), FALSE);
}

static const struct {
    const char *text, *events;
} good[] = {
    {"{}", "{ } "},
    {"[]", "[ ] "},
    {" \t\r\n7 ", "n:7 "},
    {"\"\"", "s: "},
    {"null", "null "},
    {"{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"e\"}}",
     "{ k:a n:1 k:b [ true false null ] k:c { k:d s:e } } "},
    {"[ -0.5e+10 , 0 , 12.25E-3,-7 ]", "[ n:-0.5e+10 n:0 n:12.25E-3 n:-7 ] "},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u4e2d\"", "s:\"\\/\b\f\n\r\t\303\251\344\270\255 "},
    {"\"\\ud83d\\ude00!\"", "s:\360\237\230\200! "},
    {"\"\\ud83d\"", "s:\357\277\275 "},
    {"\"\\ud83d\\ud83d\\ude00\"", "s:\357\277\275\360\237\230\200 "},
    {"\"\\ude00x\"", "s:\357\277\275x "},
    {"\"\\ud83d\\n\"", "s:\357\277\275\n "},
    {"\"h\303\251llo\"", "s:h\303\251llo "},
    {"{\"\\u006bey\":\"v\"}", "{ k:key s:v } "},
    {"[[[]],{}]", "[ [ [ ] ] { } ] "},
    {"[\"0123456789abcdef0123456789abcdef\",\"01234567\303\251abcdef\"]",
     "[ s:0123456789abcdef0123456789abcdef s:01234567\303\251abcdef ] "},
};

static const char *const bad[] = {
    "",
    "   ",
    "{",
    "}",
    "[1",
    "[1,]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{'a':1}",
    "[1 2]",
    "1 2",
    "[}",
    "{]",
    "tru",
    "trux",
    "nulll",
    "\"abc",
    "\"\\x\"",
    "\"\\u12g4\"",
    "\"\\u12",
    "\"\\u0000\"",
    "\"a\nb\"",
    "\"\001\"",
    "01",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "-",
    "--1",
    "1-2",
    "\"\377\"",
    "\"\303\"",
    "\"0123456789abcdef\3770123456789abcdef\"",
    "\"0123456789abcdef\n0123456789abcdef\"",
    "\357\273\277{}",
    "[,1]",
    "{,}",
    "{\"a\" 1}",
    "[1:2]",
    "NaN",
    "{1:2}",
    "{\"a\":1 \"b\":2}",
    "[\"a\" \"b\"]",
    "{\"a\":1}]",
    "/**/1",
};

static void test_every_split(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        size_t len = strlen(good[i].text);

        for (size_t first = 0; first <= len; first++) {
            for (size_t second = first; second <= len; second++) {
                g_autoptr(GError) error = NULL;
                g_autofree char *events = run(good[i].text, len, first, second, &error);

                g_assert_no_error(error);
                g_assert_cmpstr(events, ==, good[i].events);
            }
        }
    }
}

static void test_malformed(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        size_t len = strlen(bad[i]);

        for (size_t split = 0; split <= len; split++) {
            g_autoptr(GError) error = NULL;
            g_autofree char *events = run(bad[i], len, split, split, &error);

            if (events != NULL)
                g_error("accepted: %s", bad[i]);
            g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
            g_assert_nonnull(strstr(error->message, "byte"));
        }
    }
}

/* Every byte at every place of a word, and of what follows the last whole one. */
static void test_plain_run(void)
{
    char text[21];

    for (size_t at = 0; at < sizeof(text); at++) {
        for (unsigned c = 0; c < 256; c++) {
            bool special = c < 0x20 || c == '"' || c == '\\', ascii = false;

            memset(text, 'a', sizeof(text));
            text[at] = (char)c;
            g_assert_cmpuint(vms_json_plain_run(text, sizeof(text), &ascii), ==,
                             special ? at : sizeof(text));
            g_assert_cmpint(ascii, ==, special || c < 0x80);
        }
    }
}

static void test_position(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(run("{\"abc\": \"d\001\"}", 13, 4, 9, &error));
    g_assert_nonnull(strstr(error->message, "byte 10:"));
}

static void test_limits(void)
{
    g_autofree char *deep = g_strnfill(VMS_JSON_MAX_DEPTH, '[');
    g_autofree char *closed = g_strnfill(VMS_JSON_MAX_DEPTH, ']');
    g_autofree char *fits = g_strconcat(deep, closed, NULL);
    g_autofree char *too_deep = g_strconcat("[", deep, NULL);
    g_autofree char *million = g_strnfill(1 << 20, 'a');
    g_autofree char *long_text = g_strconcat("\"", million, "\"", NULL);
    g_autofree char *too_long = g_strconcat("\"", million, "a\"", NULL);
    g_autofree char *digits = g_strnfill(5000, '1');
    g_autoptr(GString) escapes = g_string_new("\"");
    GError *error = NULL;
    char *events = run(fits, strlen(fits), 3, 100, &error);

    g_assert_no_error(error);
    g_free(events);
    g_assert_null(run(too_deep, strlen(too_deep), 0, 0, NULL));
    events = run(long_text, strlen(long_text), 1, 1 << 19, &error);
    g_assert_no_error(error);
    g_free(events);
    g_assert_null(run(too_long, strlen(too_long), 1, 1 << 19, NULL));
    g_assert_null(run(digits, strlen(digits), 0, 0, NULL));
    for (int i = 0; i < 600000; i++)
        g_string_append(escapes, "\\u00e9");
    g_assert_null(run(escapes->str, escapes->len, 0, 0, &error));
    g_assert_nonnull(strstr(error->message, "1 MiB"));
    g_clear_error(&error);
}

static bool refuse(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    return event != VMS_JSON_NUMBER || vms_fail(error, VMS_ERROR_REFUSED, "no numbers");
}

/* The callback's error comes out, and nothing works afterwards. */
static void test_callback_stops(void)
{
    g_autoptr(VmsJsonStream) stream = vms_json_stream_new(refuse, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_false(vms_json_stream_feed(stream, "[1,2]", 5, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_REFUSED);
    g_clear_error(&error);
    g_assert_false(vms_json_stream_feed(stream, "]", 1, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(vms_json_stream_finish(stream, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json-stream/every-split", test_every_split);
    g_test_add_func("/json-stream/malformed", test_malformed);
    g_test_add_func("/json-stream/plain-run", test_plain_run);
    g_test_add_func("/json-stream/position", test_position);
    g_test_add_func("/json-stream/limits", test_limits);
    g_test_add_func("/json-stream/callback-stops", test_callback_stops);
    return g_test_run();
}
