/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"
#include "repo/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    VmsId id;
    fuzz_settled(vms_config_parse(text, len, &id, &error), &error);
    return 0;
}
