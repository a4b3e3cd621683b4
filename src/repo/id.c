/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/id.h"

#include "base/error.h"
#include "base/text.h"

#include <string.h>

void vms_id_hex(const VmsId *id, char hex[VMS_ID_HEX_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < VMS_ID_LEN; i++) {
        hex[2 * i] = digits[id->bytes[i] >> 4];
        hex[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    hex[VMS_ID_HEX_LEN] = '\0';
}

bool vms_id_parse(const char *hex, VmsId *ret_id, GError **error)
{
    VmsId id;

    if (!vms_text_unhex(hex, id.bytes, VMS_ID_LEN, NULL))
        return vms_fail(error, VMS_ERROR_INVALID, "\"%.80s\" is not an id of 64 hex digits", hex);
    *ret_id = id;
    return true;
}

bool vms_id_equal(const VmsId *a, const VmsId *b)
{
    return memcmp(a->bytes, b->bytes, VMS_ID_LEN) == 0;
}
