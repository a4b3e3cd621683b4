/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "job/plain-read.h"
#include "store/mem.h"

#include <string.h>

#define MIB (UINT64_C(1) << 20)

typedef struct {
    VmsStore *store;
    GBytes *data;
    VmsManifestFile file;
    GCancellable *cancellable;
    uint64_t told;  /* bytes */
    uint64_t stop;  /* fail there */
    bool cancelled; /* cancel there instead */
} Fixture;

static void set_up(Fixture *f, const void *user)
{
    size_t size = *(const uint64_t *)user;
    uint64_t *words = g_malloc(size + 8);
    for (size_t i = 0; i <= size / 8; i++)
        words[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    f->store = vms_mem_new();
    f->data = g_bytes_new_take(words, size);
    f->file.name = g_strdup("vda.qcow2");
    f->file.bytes = size;
    f->file.sha256 = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, f->data);
    f->cancellable = g_cancellable_new();
    f->stop = UINT64_MAX;
    g_assert_true(vms_store_put(f->store, "a", f->data, false, NULL, NULL));
}

static void tear_down(Fixture *f, const void *user)
{
    vms_store_free(f->store);
    g_bytes_unref(f->data);
    g_free(f->file.name);
    g_free(f->file.sha256);
    g_object_unref(f->cancellable);
}

static bool take(void *user, uint64_t offset, const void *data, size_t len, GError **error)
{
    Fixture *f = user;
    const uint8_t *all = g_bytes_get_data(f->data, NULL);
    g_assert_cmpuint(offset, ==, f->told); /* in order, without gaps */
    g_assert_cmpint(memcmp(all + offset, data, len), ==, 0);
    f->told += len;
    if (f->told > f->stop && f->cancelled)
        g_cancellable_cancel(f->cancellable);
    return f->told <= f->stop || f->cancelled || vms_fail(error, VMS_ERROR_NO_SPACE, "full");
}

static bool read_all(Fixture *f, GError **error)
{
    VmsPlainReadOptions options = {.store = f->store, .cancellable = f->cancellable};
    return vms_plain_read(&options, "a", &f->file, take, f, error);
}

static void test_whole(Fixture *f, const void *user)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(read_all(f, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(f->told, ==, f->file.bytes);
}

static void test_hash(Fixture *f, const void *user)
{
    g_autoptr(GError) error = NULL;
    f->file.sha256[63] = f->file.sha256[63] == '0' ? '1' : '0';
    g_assert_false(read_all(f, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_clear_error(&error);
    g_assert_null(vms_plain_read_small(f->store, "a", &f->file, NULL, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
}

static void test_size(Fixture *f, const void *user)
{
    for (int change = -1; change <= 1; change += 2) {
        g_autoptr(GError) error = NULL;
        f->file.bytes += (uint64_t)(int64_t)change;
        g_assert_false(read_all(f, &error));
        g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
        g_assert_cmpuint(f->told, ==, 0);
        f->file.bytes -= (uint64_t)(int64_t)change;
    }
    g_autoptr(GError) error = NULL;
    g_assert_true(vms_store_remove(f->store, "a", NULL, NULL));
    g_assert_false(read_all(f, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
}

static void test_stopped(Fixture *f, const void *user)
{
    g_autoptr(GError) error = NULL;
    f->stop = 20 * MIB;
    g_assert_false(read_all(f, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_NO_SPACE);
    g_assert_cmpuint(f->told, <, f->file.bytes);
}

static void test_cancelled(Fixture *f, const void *user)
{
    g_autoptr(GError) error = NULL;
    f->stop = 20 * MIB;
    f->cancelled = true;
    g_assert_false(read_all(f, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    g_assert_cmpuint(f->told, <, f->file.bytes);
}

int main(int argc, char **argv)
{
    static const uint64_t large = 75 * MIB + 13, one = 1, none = 0, edge = 8 * MIB;
    g_test_init(&argc, &argv, NULL);
#define ADD(name, size, func) g_test_add(name, Fixture, &size, set_up, func, tear_down)
    ADD("/plain-read/large", large, test_whole);
    ADD("/plain-read/one", one, test_whole);
    ADD("/plain-read/none", none, test_whole);
    ADD("/plain-read/edge", edge, test_whole);
    ADD("/plain-read/hash", edge, test_hash);
    ADD("/plain-read/size", edge, test_size);
    ADD("/plain-read/stopped", large, test_stopped);
    ADD("/plain-read/cancelled", large, test_cancelled);
    return g_test_run();
}
