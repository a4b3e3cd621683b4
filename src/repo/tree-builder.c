/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building a directory and writing its tree blob.
 *
 * The JSON is made piece by piece: into memory while it is short, and through a blob stream (a
 * temporary file) once the content lists are long. Members are in the order, and times in the form,
 * in which restic writes them, so a tree that restic rewrites unchanged keeps its id. */
#include "repo/tree.h"

#include "base/error.h"
#include "repo/blob-stream.h"
#include "repo/node-name.h"

#include <string.h>

#define CHUNK (1u << 20) /* of files given as bytes */
#define FLUSH (256u << 10)
#define LONG_CONTENT 32768 /* ids in all: some 2 MiB of JSON */
#define BATCH 1024

#define MODE_FILE 0600u
#define MODE_DIR (1u << 31 | 0700u) /* Go's bit for a directory */

typedef struct {
    char *name;
    bool is_dir;
    uint64_t size;
    const VmsContent *content; /* nullable: none */
    VmsContent *owned;
    VmsId subtree;
} Entry;

struct VmsTreeBuilder {
    int64_t mtime_us;
    GPtrArray *entries;
};

static void free_entry(void *data)
{
    Entry *entry = data;

    vms_content_free(entry->owned);
    g_free(entry->name);
    g_free(entry);
}

VmsTreeBuilder *vms_tree_builder_new(int64_t mtime_us)
{
    VmsTreeBuilder *builder = g_new0(VmsTreeBuilder, 1);

    builder->mtime_us = mtime_us;
    builder->entries = g_ptr_array_new_with_free_func(free_entry);
    return builder;
}

void vms_tree_builder_free(VmsTreeBuilder *builder)
{
    if (builder != NULL) {
        g_ptr_array_unref(builder->entries);
        g_free(builder);
    }
}

static Entry *add_entry(VmsTreeBuilder *builder, const char *name)
{
    Entry *entry = g_new0(Entry, 1);

    entry->name = g_strdup(name);
    g_ptr_array_add(builder->entries, entry);
    return entry;
}

bool vms_tree_builder_add_bytes(VmsTreeBuilder *builder, VmsRepoWriter *writer, const char *name,
                                const void *data, size_t len, GError **error)
{
    g_autoptr(VmsContent) content = vms_content_new((len + CHUNK - 1) / CHUNK, error);

    if (content == NULL)
        return false;
    for (size_t at = 0; at < len; at += CHUNK) {
        VmsId id;

        if (!vms_repo_writer_add(writer, VMS_BLOB_DATA, (const uint8_t *)data + at,
                                 MIN(CHUNK, len - at), &id, error) ||
            !vms_content_set(content, at / CHUNK, &id, error))
            return vms_prefix(error, "%s", name);
    }
    Entry *entry = add_entry(builder, name);
    entry->size = len;
    entry->owned = g_steal_pointer(&content);
    entry->content = entry->owned;
    return true;
}

void vms_tree_builder_add_file(VmsTreeBuilder *builder, const char *name, uint64_t size,
                               const VmsContent *content)
{
    Entry *entry = add_entry(builder, name);

    entry->size = size;
    entry->content = content;
}

void vms_tree_builder_add_dir(VmsTreeBuilder *builder, const char *name, const VmsId *subtree)
{
    Entry *entry = add_entry(builder, name);

    entry->is_dir = true;
    entry->subtree = *subtree;
}

/* RFC 3339 without trailing zeroes, as Go writes it. */
static char *format_time(int64_t unix_us)
{
    int64_t seconds = unix_us / 1000000, rest = unix_us % 1000000;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    if (time == NULL)
        time = g_date_time_new_from_unix_utc(0);
    g_autofree char *text = g_date_time_format(time, "%Y-%m-%dT%H:%M:%S");
    g_autofree char *fraction = g_strdup_printf(".%06d", (int)rest);
    for (size_t len = strlen(fraction); fraction[len - 1] == '0' || fraction[len - 1] == '.';
         len--) {
        bool point = fraction[len - 1] == '.';

        fraction[len - 1] = '\0';
        if (point)
            break;
    }
    return g_strconcat(text, fraction, "Z", NULL);
}

/* Where the JSON goes. */
typedef struct {
    GString *text;
    VmsBlobStream *stream; /* NULL: text is all there is */
} Sink;

static bool drain(Sink *sink, size_t above, GError **error)
{
    if (sink->stream == NULL || sink->text->len <= above)
        return true;
    bool ok = vms_blob_stream_feed(sink->stream, sink->text->str, sink->text->len, error);
    g_string_truncate(sink->text, 0);
    return ok;
}

static bool put_content(Sink *sink, const VmsContent *content, GError **error)
{
    uint64_t count = content != NULL ? vms_content_count(content) : 0;
    VmsId ids[BATCH];
    char hex[VMS_ID_HEX_LEN + 1];

    g_string_append_c(sink->text, '[');
    for (uint64_t at = 0; at < count; at += BATCH) {
        size_t batch = MIN(BATCH, count - at);

        if (!vms_content_read(content, at, batch, ids, error))
            return false;
        for (size_t i = 0; i < batch; i++) {
            vms_id_hex(&ids[i], hex);
            g_string_append(sink->text, at + i > 0 ? ",\"" : "\"");
            g_string_append_len(sink->text, hex, VMS_ID_HEX_LEN);
            g_string_append_c(sink->text, '"');
        }
        if (!drain(sink, FLUSH, error))
            return false;
    }
    g_string_append_c(sink->text, ']');
    return true;
}

static bool put_entry(Sink *sink, const Entry *entry, const char *time, GError **error)
{
    GString *text = sink->text;
    char hex[VMS_ID_HEX_LEN + 1];

    g_string_append(text, "{\"name\":");
    vms_node_name_append(text, entry->name);
    g_string_append_printf(text,
                           ",\"type\":\"%s\",\"mode\":%u,\"mtime\":\"%s\",\"atime\":\"%s\","
                           "\"ctime\":\"%s\",\"uid\":0,\"gid\":0",
                           entry->is_dir ? "dir" : "file", entry->is_dir ? MODE_DIR : MODE_FILE,
                           time, time, time);
    if (entry->is_dir) {
        vms_id_hex(&entry->subtree, hex);
        g_string_append_printf(text, ",\"content\":null,\"subtree\":\"%s\"}", hex);
        return true;
    }
    if (entry->size > 0)
        g_string_append_printf(text, ",\"size\":%" G_GUINT64_FORMAT, entry->size);
    g_string_append(text, ",\"links\":1,\"content\":");
    if (!put_content(sink, entry->content, error))
        return vms_prefix(error, "%s", entry->name);
    g_string_append_c(text, '}');
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(const Entry *const *)a)->name, (*(const Entry *const *)b)->name);
}

/* Sorts and checks; *ret_ids: of all content lists together. */
static bool prepare(VmsTreeBuilder *builder, uint64_t *ret_ids, GError **error)
{
    const char *previous = NULL;
    uint64_t ids = 0;

    g_ptr_array_sort(builder->entries, compare_entries);
    for (guint i = 0; i < builder->entries->len; i++) {
        const Entry *entry = g_ptr_array_index(builder->entries, i);

        if (!vms_node_name_valid(entry->name))
            return vms_fail(error, VMS_ERROR_INVALID, "\"%s\" is no name for a file", entry->name);
        if (previous != NULL && strcmp(previous, entry->name) == 0)
            return vms_fail(error, VMS_ERROR_INVALID, "two files called \"%s\"", previous);
        previous = entry->name;
        if (entry->content != NULL)
            ids += vms_content_count(entry->content);
    }
    *ret_ids = ids;
    return true;
}

static bool put_all(VmsTreeBuilder *builder, Sink *sink, GError **error)
{
    g_autofree char *time = format_time(builder->mtime_us);

    g_string_append(sink->text, "{\"nodes\":[");
    for (guint i = 0; i < builder->entries->len; i++) {
        if (i > 0)
            g_string_append_c(sink->text, ',');
        if (!put_entry(sink, g_ptr_array_index(builder->entries, i), time, error))
            return false;
    }
    g_string_append(sink->text, "]}\n");
    return drain(sink, 0, error);
}

bool vms_tree_builder_save(VmsTreeBuilder *builder, VmsRepoWriter *writer, VmsId *ret_id,
                           GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(VmsBlobStream) stream = NULL;
    Sink sink = {.text = text};
    uint64_t ids = 0;

    if (!prepare(builder, &ids, error))
        return false;
    if (ids >= LONG_CONTENT) {
        stream = vms_blob_stream_new(writer, VMS_BLOB_TREE, error);
        if (stream == NULL)
            return false;
        sink.stream = stream;
    }
    if (!put_all(builder, &sink, error))
        return false;
    if (stream != NULL)
        return vms_blob_stream_finish(stream, ret_id, error);
    return vms_repo_writer_add(writer, VMS_BLOB_TREE, text->str, text->len, ret_id, error);
}
