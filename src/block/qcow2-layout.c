/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extents become runs of clusters, 16 bytes each. All that has to be known of them in advance is
 * how many clusters of data there are and which L2 tables have an entry; the tables themselves are
 * made when they are written, from the runs once more. Every cluster of the image is referenced
 * once, so the refcounts are ones up to its end. */
#include "block/qcow2-layout.h"

#include "base/error.h"
#include "block/qcow2-runs.h"

#include <string.h>

#define L2_ENTRIES (VMS_QCOW2_CLUSTER / 8) /* clusters of the disk that an L2 table maps */
#define BLOCK_ENTRIES                                                                              \
    (VMS_QCOW2_CLUSTER / 2)                   /* clusters of the image that a refcount block has   \
                                               */
#define TABLE_ENTRIES (VMS_QCOW2_CLUSTER / 8) /* of the refcount table, per cluster */
#define MOST_SIZE (UINT64_C(1) << 51)         /* an L1 table of 32 MiB, the most that QEMU takes */
#define MOST_NAME 1023
#define HEADER_LEN 104
#define EXTENSION_BACKING_FORMAT 0xE2792ACAu
#define COPIED (UINT64_C(1) << 63) /* the refcount is one */
#define READS_ZERO UINT64_C(1)

struct VmsQcow2Layout {
    uint64_t size;
    char *backing; /* nullable */
    VmsQcow2Runs *runs;
    uint64_t next; /* bytes: where the next extent may begin */
    struct {
        uint64_t cluster, bytes; /* bytes: how much of it was given; 0: there is none */
        bool data;
    } part;           /* a cluster that was given in part so far */
    GByteArray *maps; /* for each L2 table: has it entries? */
    uint64_t data;    /* clusters */
    /* Clusters of the image, in this order after the header. */
    uint64_t table, blocks, l1, l2;
};

/* How many pieces of that length n is. */
static uint64_t pieces(uint64_t n, uint64_t length)
{
    return (n + length - 1) / length;
}

VmsQcow2Layout *vms_qcow2_layout_new(uint64_t size, const char *backing, GError **error)
{
    if (size % 512 != 0)
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "%" G_GUINT64_FORMAT " bytes are not a multiple of 512: no disk of "
                             "QEMU has such a size",
                             size);
    if (size > MOST_SIZE)
        return vms_fail_null(error, VMS_ERROR_UNSUPPORTED,
                             "a disk of %" G_GUINT64_FORMAT " bytes does not fit into a qcow2 "
                             "image with clusters of 64 KiB",
                             size);
    if (backing && (!*backing || strlen(backing) > MOST_NAME))
        return vms_fail_null(error, VMS_ERROR_INVALID,
                             "a backing file's name has 1 to %d bytes, not %zu", MOST_NAME,
                             strlen(backing));
    VmsQcow2Layout *layout = g_new0(VmsQcow2Layout, 1);
    uint64_t tables = MAX(pieces(size, L2_ENTRIES * VMS_QCOW2_CLUSTER), 1);
    layout->size = size;
    layout->backing = g_strdup(backing);
    layout->runs = vms_qcow2_runs_new();
    layout->maps = g_byte_array_sized_new((guint)tables);
    g_byte_array_set_size(layout->maps, (guint)tables);
    memset(layout->maps->data, 0, tables);
    return layout;
}

void vms_qcow2_layout_free(VmsQcow2Layout *layout)
{
    if (!layout)
        return;
    vms_qcow2_runs_free(layout->runs);
    g_byte_array_unref(layout->maps);
    g_free(layout->backing);
    g_free(layout);
}

static bool add_clusters(VmsQcow2Layout *layout, uint64_t first, uint64_t count, bool zero,
                         GError **error)
{
    if (zero && !layout->backing) /* as everything that is left out */
        return true;
    for (uint64_t at = first / L2_ENTRIES; at <= (first + count - 1) / L2_ENTRIES; at++)
        layout->maps->data[at] = 1;
    if (!zero)
        layout->data += count;
    return vms_qcow2_runs_add(layout->runs, first, count, zero, error);
}

/* The rest of a cluster that was given in part is the backing file's, so all of it is read from the
 * disk; without one it is zeroes. */
static bool end_part(VmsQcow2Layout *layout, GError **error)
{
    uint64_t bytes = layout->part.bytes, cluster = layout->part.cluster;
    bool data = layout->part.data;
    layout->part.bytes = 0;
    layout->part.data = false;
    if (bytes == 0)
        return true;
    bool whole = bytes >= MIN(VMS_QCOW2_CLUSTER, layout->size - cluster * VMS_QCOW2_CLUSTER);
    bool zero = !data && (whole || !layout->backing);
    return add_clusters(layout, cluster, 1, zero, error);
}

static bool add_part(VmsQcow2Layout *layout, uint64_t offset, uint64_t length, bool zero,
                     GError **error)
{
    uint64_t cluster = offset / VMS_QCOW2_CLUSTER;
    if (cluster != layout->part.cluster && !end_part(layout, error))
        return false;
    layout->part.cluster = cluster;
    layout->part.bytes += length;
    layout->part.data = layout->part.data || !zero;
    return true;
}

bool vms_qcow2_layout_add(VmsQcow2Layout *layout, uint64_t offset, uint64_t length, bool zero,
                          GError **error)
{
    if (offset < layout->next || offset > layout->size || length > layout->size - offset)
        return vms_fail(error, VMS_ERROR_INVALID,
                        "an extent at %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                        " bytes is out of order",
                        offset, length);
    layout->next = offset + length;
    uint64_t rest = offset % VMS_QCOW2_CLUSTER;
    if (rest > 0 && length > 0) {
        uint64_t here = MIN(length, VMS_QCOW2_CLUSTER - rest);
        if (!add_part(layout, offset, here, zero, error))
            return false;
        offset += here;
        length -= here;
    }
    uint64_t count = length / VMS_QCOW2_CLUSTER;
    if (count > 0) {
        if (!end_part(layout, error) ||
            !add_clusters(layout, offset / VMS_QCOW2_CLUSTER, count, zero, error))
            return false;
        offset += count * VMS_QCOW2_CLUSTER;
        length -= count * VMS_QCOW2_CLUSTER;
    }
    return length == 0 || add_part(layout, offset, length, zero, error);
}

static uint64_t all_clusters(const VmsQcow2Layout *layout)
{
    return 1 + layout->table + layout->blocks + layout->l1 + layout->l2 + layout->data;
}

bool vms_qcow2_layout_end(VmsQcow2Layout *layout, GError **error)
{
    if (!end_part(layout, error) || !vms_qcow2_runs_end(layout->runs, error))
        return false;
    for (guint i = 0; i < layout->maps->len; i++)
        layout->l2 += layout->maps->data[i];
    layout->l1 = pieces((uint64_t)layout->maps->len * 8, VMS_QCOW2_CLUSTER);
    layout->table = layout->blocks = 1;
    for (;;) { /* the refcounts count themselves */
        uint64_t blocks = pieces(all_clusters(layout), BLOCK_ENTRIES);
        uint64_t table = pieces(blocks, TABLE_ENTRIES);
        if (blocks == layout->blocks && table == layout->table)
            return true;
        layout->blocks = blocks;
        layout->table = table;
    }
}

uint64_t vms_qcow2_layout_bytes(const VmsQcow2Layout *layout)
{
    return all_clusters(layout) * VMS_QCOW2_CLUSTER;
}

uint64_t vms_qcow2_layout_data(const VmsQcow2Layout *layout)
{
    return layout->data * VMS_QCOW2_CLUSTER;
}

/* --- writing; one buffer of a cluster --- */

typedef struct {
    const VmsQcow2Layout *layout;
    VmsQcow2WriteFunc func;
    void *user;
    uint8_t *buffer;
    uint64_t table; /* L2 table that is in the buffer */
    bool filled;    /* it has entries */
    uint64_t place; /* cluster of the image where the next data lie */
} Writing;

static void put32(uint8_t *at, uint32_t value)
{
    uint32_t big = GUINT32_TO_BE(value);
    memcpy(at, &big, sizeof big);
}

static void put64(uint8_t *at, uint64_t value)
{
    uint64_t big = GUINT64_TO_BE(value);
    memcpy(at, &big, sizeof big);
}

static bool write_buffer(Writing *w, GError **error)
{
    bool ok = w->func(w->user, w->buffer, VMS_QCOW2_CLUSTER, error);
    memset(w->buffer, 0, VMS_QCOW2_CLUSTER);
    return ok;
}

static void fill_header(Writing *w)
{
    static const char format[] = "qcow2";
    const VmsQcow2Layout *layout = w->layout;
    uint8_t *at = w->buffer;
    memcpy(at, "QFI\xfb", 4);
    put32(at + 4, 3);
    put32(at + 20, 16); /* cluster_bits */
    put64(at + 24, layout->size);
    put32(at + 36, layout->maps->len);
    put64(at + 40, (1 + layout->table + layout->blocks) * VMS_QCOW2_CLUSTER);
    put64(at + 48, VMS_QCOW2_CLUSTER);
    put32(at + 56, (uint32_t)layout->table);
    put32(at + 96, 4); /* refcount_order */
    put32(at + 100, HEADER_LEN);
    if (!layout->backing)
        return;
    at += HEADER_LEN;
    put32(at, EXTENSION_BACKING_FORMAT);
    put32(at + 4, sizeof format - 1);
    memcpy(at + 8, format, sizeof format - 1);
    at += 24; /* padded to 8 bytes, and eight zeroes that end the extensions */
    memcpy(at, layout->backing, strlen(layout->backing));
    put64(w->buffer + 8, (uint64_t)(at - w->buffer));
    put32(w->buffer + 16, (uint32_t)strlen(layout->backing));
}

static bool write_refcounts(Writing *w, GError **error)
{
    const VmsQcow2Layout *layout = w->layout;
    for (uint64_t i = 0; i < layout->table * TABLE_ENTRIES; i++) {
        if (i < layout->blocks)
            put64(w->buffer + i % TABLE_ENTRIES * 8, (1 + layout->table + i) * VMS_QCOW2_CLUSTER);
        if (i % TABLE_ENTRIES == TABLE_ENTRIES - 1 && !write_buffer(w, error))
            return false;
    }
    uint64_t all = all_clusters(layout);
    for (uint64_t i = 0; i < layout->blocks; i++) {
        uint64_t used = MIN(all - i * BLOCK_ENTRIES, BLOCK_ENTRIES);
        for (uint64_t k = 0; k < used; k++)
            w->buffer[2 * k + 1] = 1;
        if (!write_buffer(w, error))
            return false;
    }
    return true;
}

static bool write_l1(Writing *w, GError **error)
{
    const VmsQcow2Layout *layout = w->layout;
    uint64_t place = 1 + layout->table + layout->blocks + layout->l1;
    for (uint64_t i = 0; i < layout->l1 * (VMS_QCOW2_CLUSTER / 8); i++) {
        if (i < layout->maps->len && layout->maps->data[i])
            put64(w->buffer + i % TABLE_ENTRIES * 8, COPIED | place++ * VMS_QCOW2_CLUSTER);
        if (i % TABLE_ENTRIES == TABLE_ENTRIES - 1 && !write_buffer(w, error))
            return false;
    }
    return true;
}

static bool on_run(void *user, uint64_t first, uint64_t count, bool zero, GError **error)
{
    Writing *w = user;
    for (uint64_t at = first; at < first + count; at++) {
        if (w->filled && at / L2_ENTRIES != w->table && !write_buffer(w, error))
            return false;
        w->table = at / L2_ENTRIES;
        w->filled = true;
        put64(w->buffer + at % L2_ENTRIES * 8,
              zero ? READS_ZERO : COPIED | w->place++ * VMS_QCOW2_CLUSTER);
    }
    return true;
}

bool vms_qcow2_layout_metadata(VmsQcow2Layout *layout, VmsQcow2WriteFunc func, void *user,
                               GError **error)
{
    g_autofree uint8_t *buffer = g_malloc0(VMS_QCOW2_CLUSTER);
    Writing w = {.layout = layout, .func = func, .user = user, .buffer = buffer};
    w.place = all_clusters(layout) - layout->data;
    fill_header(&w);
    return write_buffer(&w, error) && write_refcounts(&w, error) && write_l1(&w, error) &&
           vms_qcow2_runs_each(layout->runs, on_run, &w, error) &&
           (!w.filled || write_buffer(&w, error));
}

typedef struct {
    VmsQcow2DataFunc func;
    void *user;
} EachData;

static bool on_data_run(void *user, uint64_t first, uint64_t count, bool zero, GError **error)
{
    const EachData *each = user;
    return zero ||
           each->func(each->user, first * VMS_QCOW2_CLUSTER, count * VMS_QCOW2_CLUSTER, error);
}

bool vms_qcow2_layout_each_data(VmsQcow2Layout *layout, VmsQcow2DataFunc func, void *user,
                                GError **error)
{
    EachData each = {func, user};
    return vms_qcow2_runs_each(layout->runs, on_data_run, &each, error);
}
