/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/config.h"

#include "base/error.h"
#include "base/json.h"
#include "codec/seal.h"
#include "repo/polynomial.h"

char *vms_config_build(VmsId *ret_id, GError **error)
{
    char hex[VMS_ID_HEX_LEN + 1];
    uint64_t polynomial;
    VmsId id;

    if (!vms_seal_random(id.bytes, VMS_ID_LEN, error) || !vms_polynomial_random(&polynomial, error))
        return NULL;
    vms_id_hex(&id, hex);
    *ret_id = id;
    return g_strdup_printf(
        "{\"version\":2,\"id\":\"%s\",\"chunker_polynomial\":\"%" G_GINT64_MODIFIER "x\"}", hex,
        polynomial);
}

bool vms_config_parse(const char *text, size_t len, VmsId *ret_id, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(VmsJson) root = vms_json_parse(text, len, &local);
    uint64_t version = 0;
    const char *id = NULL;

    if (root == NULL || !vms_json_uint64(root, "version", &version, &local))
        return vms_fail(error, VMS_ERROR_CORRUPT, "config: %s", local->message);
    if (version == 1)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the repository has format version 1; vmsnap needs version 2: "
                        "run \"restic migrate upgrade_repo_v2\" on it");
    if (version != 2)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED,
                        "the repository has format version %" G_GUINT64_FORMAT
                        "; this vmsnap knows version 2",
                        version);
    if (!vms_json_string(root, "id", &id, &local) || !vms_id_parse(id, ret_id, &local))
        return vms_fail(error, VMS_ERROR_CORRUPT, "config: %s", local->message);
    return true;
}
