/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was read is written and read again. */
#include "repo/snapshot-file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsRepoSnapshot) snapshot = vms_snapshot_file_parse(text, len, &error);
    if (!fuzz_settled(snapshot != NULL, &error))
        return 0;
    vms_repo_snapshot_tag(snapshot, "domain");
    g_autofree char *again = vms_snapshot_file_build(snapshot);
    g_autoptr(VmsRepoSnapshot) same = vms_snapshot_file_parse(again, strlen(again), &error);
    fuzz_settled(same != NULL, &error);
    g_assert_nonnull(same);
    g_assert_cmpint(same->time_us, ==, snapshot->time_us);
    return 0;
}
