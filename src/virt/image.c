/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/image.h"

#include "base/error.h"
#include "base/json.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LAYERS 256
#define NEVER "-"

static void layer_free(void *data)
{
    VmsLayer *layer = data;
    g_free(layer->identity);
    g_free(layer->changed);
    g_free(layer->path);
    g_free(layer);
}

static GPtrArray *layers_new(void)
{
    return g_ptr_array_new_with_free_func(layer_free);
}

/* An inode number is soon used again: the time of birth tells the files apart, where the file
 * system keeps it. */
static VmsLayer *layer_read(const char *path, GError **error)
{
    struct statx st;
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &st) < 0) {
        vms_fail_errno(error, errno, "%s", path);
        return NULL;
    }
    VmsLayer *layer = g_new0(VmsLayer, 1);
    layer->path = g_strdup(path);
    if (S_ISBLK(st.stx_mode)) {
        layer->identity = g_strdup_printf("b:%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
        layer->changed = g_strdup(NEVER);
        return layer;
    }
    bool born = (st.stx_mask & STATX_BTIME) != 0;
    layer->identity =
        g_strdup_printf("f:%u:%u:%" G_GUINT64_FORMAT ":%" G_GINT64_FORMAT ".%09u", st.stx_dev_major,
                        st.stx_dev_minor, (uint64_t)st.stx_ino,
                        born ? (int64_t)st.stx_btime.tv_sec : 0, born ? st.stx_btime.tv_nsec : 0);
    layer->changed = g_strdup_printf("%" G_GINT64_FORMAT ".%09u", (int64_t)st.stx_mtime.tv_sec,
                                     st.stx_mtime.tv_nsec);
    return layer;
}

/* -U: a guest may have it open. */
static VmsJson *ask(const char *path, const char *format, GCancellable *cancellable, GError **error)
{
    const char *const argv[] = {"qemu-img", "info", "-U", "--output=json", "-f", format,
                                "--",       path,   NULL};
    g_autofree char *text = NULL;
    if (!vms_process_run(argv, cancellable, &text, error))
        return NULL;
    VmsJson *info = vms_json_parse(text, strlen(text), error);
    if (!info)
        vms_prefix(error, "qemu-img info of %s", path);
    return info;
}

/* What the image at *path stands on, as its header says it; NULL where it stands on nothing, or on
 * something that is no local file of a known format. */
static bool step_down(char **path, char **format, GCancellable *cancellable, GError **error)
{
    const char *below = NULL, *kind = NULL;
    g_autoptr(VmsJson) info = NULL;
    bool known = false;
    if (!g_str_equal(*format, "raw")) {
        info = ask(*path, *format, cancellable, error);
        if (!info)
            return false;
        known = vms_json_has(info, "full-backing-filename") &&
                vms_json_string(info, "full-backing-filename", &below, NULL) &&
                vms_json_has(info, "backing-filename-format") &&
                vms_json_string(info, "backing-filename-format", &kind, NULL) &&
                g_path_is_absolute(below);
    }
    g_free(*path);
    g_free(*format);
    *path = known ? g_strdup(below) : NULL;
    *format = known ? g_strdup(kind) : NULL;
    return true;
}

GPtrArray *vms_image_chain(const char *path, const char *format, GCancellable *cancellable,
                           GError **error)
{
    g_autoptr(GPtrArray) layers = layers_new();
    g_autofree char *at = g_strdup(path), *kind = g_strdup(format);
    while (at && layers->len < MAX_LAYERS) {
        VmsLayer *layer = layer_read(at, error);
        if (!layer)
            return NULL;
        g_ptr_array_add(layers, layer);
        if (!step_down(&at, &kind, cancellable, error))
            return NULL;
    }
    return g_steal_pointer(&layers);
}

char *vms_layers_to_text(const GPtrArray *layers)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < layers->len; i++) {
        const VmsLayer *layer = layers->pdata[i];
        g_autofree char *path = g_strescape(layer->path, NULL); /* no line break in it */
        g_string_append_printf(text, "%s %s %s\n", layer->identity, layer->changed, path);
    }
    return g_string_free(text, FALSE);
}

GPtrArray *vms_layers_parse(const char *text)
{
    g_autoptr(GPtrArray) layers = layers_new();
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    for (char **line = lines; *line; line++) {
        if (!**line)
            continue;
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);
        if (g_strv_length(words) != 3)
            return NULL;
        VmsLayer *layer = g_new0(VmsLayer, 1);
        layer->identity = g_strdup(words[0]);
        layer->changed = g_strdup(words[1]);
        layer->path = g_strcompress(words[2]);
        g_ptr_array_add(layers, layer);
    }
    return layers->len > 0 ? g_steal_pointer(&layers) : NULL;
}

bool vms_layers_equal(const GPtrArray *layers, guint from, const GPtrArray *other,
                      bool skip_top_time)
{
    if (layers->len < from || layers->len - from != other->len)
        return false;
    for (guint i = 0; i < other->len; i++) {
        const VmsLayer *a = layers->pdata[from + i], *b = other->pdata[i];
        bool skip = skip_top_time && i == 0;
        if (!g_str_equal(a->path, b->path) || !g_str_equal(a->identity, b->identity) ||
            (!skip && !g_str_equal(a->changed, b->changed)))
            return false;
    }
    return true;
}

static bool has_flag(VmsJson *bitmap, const char *flag)
{
    VmsJson *flags;
    const char *text;
    if (!vms_json_array(bitmap, "flags", &flags, NULL))
        return false;
    for (size_t i = 0; i < vms_json_length(flags); i++)
        if (vms_json_element_string(flags, i, &text, NULL) && g_str_equal(text, flag))
            return true;
    return false;
}

static bool take_bitmaps(VmsImageInfo *info, VmsJson *data, GError **error)
{
    VmsJson *list, *bitmap;
    const char *name;
    if (!vms_json_has(data, "bitmaps"))
        return true;
    if (!vms_json_array(data, "bitmaps", &list, error))
        return false;
    for (size_t i = 0; i < vms_json_length(list); i++) {
        if (!vms_json_element_object(list, i, &bitmap, error) ||
            !vms_json_string(bitmap, "name", &name, error))
            return false;
        VmsBitmapState state = has_flag(bitmap, "in-use") ? VMS_BITMAP_INCONSISTENT
                               : has_flag(bitmap, "auto") ? VMS_BITMAP_GOOD
                                                          : VMS_BITMAP_DISABLED;
        g_ptr_array_add(info->bitmaps, g_strdup(name));
        g_array_append_val(info->states, state);
    }
    return true;
}

static bool take_info(VmsImageInfo *info, VmsJson *json, GError **error)
{
    VmsJson *specific, *data, *snapshots;
    const char *compat;
    bool encrypted = false;
    if (vms_json_has(json, "encrypted") && !vms_json_bool(json, "encrypted", &encrypted, error))
        return false;
    info->internal_snapshots = vms_json_has(json, "snapshots") &&
                               vms_json_array(json, "snapshots", &snapshots, NULL) &&
                               vms_json_length(snapshots) > 0;
    if (!vms_json_object(json, "format-specific", &specific, error) ||
        !vms_json_object(specific, "data", &data, error) ||
        !vms_json_string(data, "compat", &compat, error))
        return false;
    info->can_have_bitmaps = !encrypted && !g_str_equal(compat, "0.10");
    return take_bitmaps(info, data, error);
}

VmsImageInfo *vms_image_info_read(const char *path, const char *format, GCancellable *cancellable,
                                  GError **error)
{
    g_autoptr(VmsImageInfo) info = g_new0(VmsImageInfo, 1);
    info->bitmaps = g_ptr_array_new_with_free_func(g_free);
    info->states = g_array_new(FALSE, FALSE, sizeof(VmsBitmapState));
    if (!g_str_equal(format, "qcow2"))
        return g_steal_pointer(&info);
    g_autoptr(VmsJson) json = ask(path, format, cancellable, error);
    if (!json || !take_info(info, json, error))
        return NULL;
    return g_steal_pointer(&info);
}

void vms_image_info_free(VmsImageInfo *info)
{
    if (!info)
        return;
    g_ptr_array_unref(info->bitmaps);
    g_array_unref(info->states);
    g_free(info);
}

VmsBitmapState vms_image_info_bitmap(const VmsImageInfo *info, const char *name)
{
    for (guint i = 0; i < info->bitmaps->len; i++)
        if (g_str_equal(info->bitmaps->pdata[i], name))
            return g_array_index(info->states, VmsBitmapState, i);
    return VMS_BITMAP_MISSING;
}
