/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/plain.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "base/json-writer.h"
#include "base/json.h"
#include "base/text.h"
#include "codec/seal.h"

#include <string.h>

#define VERSION 1
#define ID_BYTES 32
#define MAX_MARK (64u << 10) /* bytes */

static char *parse_mark(GBytes *bytes, GError **error)
{
    size_t len;
    const char *text = g_bytes_get_data(bytes, &len), *id;
    uint64_t version;
    uint8_t raw[ID_BYTES];
    g_autoptr(VmsJson) root = vms_json_parse(text ? text : "", len, error);
    if (!root || !vms_json_uint64(root, "version", &version, error))
        return NULL;
    if (version != VERSION)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED,
                             "it is of version %" G_GUINT64_FORMAT ", this program reads version "
                             "%d: use the newer vmsnap that made it",
                             version, VERSION);
    if (!vms_json_string(root, "id", &id, error) || !vms_text_unhex(id, raw, sizeof raw, error))
        return NULL;
    return vms_text_hex(raw, sizeof raw);
}

bool vms_plain_find(VmsStore *store, char **ret_id, GCancellable *cancellable, GError **error)
{
    bool exists = false;
    uint64_t size = 0;
    *ret_id = NULL;
    if (!vms_store_has(store, VMS_PLAIN_MARK, &exists, &size, cancellable, error))
        return false;
    if (!exists)
        return true;
    if (size > MAX_MARK)
        return vms_fail(error, VMS_ERROR_INVALID, "%s: %s is too large", store->location,
                        VMS_PLAIN_MARK);
    g_autoptr(GBytes) bytes =
        vms_store_get(store, VMS_PLAIN_MARK, 0, UINT64_MAX, cancellable, error);
    if (!bytes)
        return false;
    *ret_id = parse_mark(bytes, error);
    return *ret_id || vms_prefix(error, "%s: %s", store->location, VMS_PLAIN_MARK);
}

static bool stop_at_other(void *user, const char *name, uint64_t size, GError **error)
{
    return vms_fail(
        error, VMS_ERROR_REFUSED,
        "it is not empty (%.80s is there), and only an empty place becomes one of plain "
        "images: give another one",
        name);
}

static bool check_empty(VmsStore *store, GCancellable *cancellable, GError **error)
{
    bool is_repository = false;
    if (!vms_store_has(store, "config", &is_repository, NULL, cancellable, error))
        return false;
    if (is_repository)
        return vms_fail(error, VMS_ERROR_REFUSED,
                        "%s is a repository: export there without --format=qcow2, or give plain "
                        "images a place of their own",
                        store->location);
    return vms_store_list(store, "", stop_at_other, NULL, cancellable, error);
}

static GBytes *new_mark(const char *id)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(true);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_uint64(out, "version", VERSION);
    vms_json_writer_member_string(out, "id", id);
    vms_json_writer_end_object(out);
    char *text = vms_json_writer_finish(out);
    return g_bytes_new_take(text, strlen(text));
}

char *vms_plain_create(VmsStore *store, GCancellable *cancellable, GError **error)
{
    g_autoptr(GError) cause = NULL;
    uint8_t raw[ID_BYTES];
    char *there = NULL;
    if (!vms_plain_find(store, &there, cancellable, error))
        return NULL;
    if (there)
        return there;
    if (!check_empty(store, cancellable, error) || !vms_seal_random(raw, sizeof raw, error))
        return NULL;
    g_autofree char *id = vms_text_hex(raw, sizeof raw);
    g_autoptr(GBytes) mark = new_mark(id);
    bool made = vms_store_put(store, VMS_PLAIN_MARK, mark, true, cancellable, &cause);
    vms_failpoint("export.place-marked");
    if (made)
        return g_steal_pointer(&id);
    /* somebody else was first */
    if (vms_error_is(cause, VMS_ERROR_EXISTS) && !vms_plain_find(store, &there, cancellable, error))
        return NULL;
    if (!there)
        g_propagate_error(error, g_steal_pointer(&cause));
    return there;
}
