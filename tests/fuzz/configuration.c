/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"
#include "job/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int fd = fuzz_file(data, len);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsConfig) config = vms_config_load(path, &error);
    if (fuzz_settled(config != NULL, &error))
        g_assert_true(config->state_dir && config->cache_dir && config->run_dir);
    close(fd);
    return 0;
}
