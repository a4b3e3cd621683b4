/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/lock-file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsLockFile) lock = vms_lock_file_parse(text, len, &error);
    if (!fuzz_settled(lock != NULL, &error))
        return 0;
    g_autofree char *again = vms_lock_file_build(lock);
    g_autoptr(VmsLockFile) same = vms_lock_file_parse(again, strlen(again), &error);
    g_assert_nonnull(same);
    g_assert_cmpint(same->time_us, ==, lock->time_us);
    return 0;
}
