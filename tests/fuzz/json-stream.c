/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any split gives the same events. */
#include "base/json-stream.h"
#include "fuzz.h"

static bool note(void *user, VmsJsonEvent event, const char *text, size_t len, GError **error)
{
    guint *sum = user;
    *sum = *sum * 31 + event;
    for (size_t i = 0; i < len; i++)
        *sum = *sum * 31 + (uint8_t)text[i];
    return true;
}

static bool run(const uint8_t *data, size_t len, size_t piece, guint *sum)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsJsonStream) stream = vms_json_stream_new(note, sum);
    bool ok = true;
    for (size_t at = 0; ok && at < len; at += piece) {
        g_autofree uint8_t *copy = g_memdup2(data + at, MIN(piece, len - at));
        ok = vms_json_stream_feed(stream, copy, MIN(piece, len - at), &error);
    }
    return fuzz_settled(ok && vms_json_stream_finish(stream, &error), &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    guint sums[3] = {0};
    bool whole = run(data, len, MAX(len, 1), &sums[0]);
    bool bytes = run(data, len, 1, &sums[1]), thirteen = run(data, len, 13, &sums[2]);
    g_assert_true(whole == bytes && whole == thirteen);
    g_assert_true(!whole || (sums[0] == sums[1] && sums[0] == sums[2]));
    return 0;
}
