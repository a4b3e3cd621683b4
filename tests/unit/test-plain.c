/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plain images: names, what the manifest says of files, and bytes on their way into a store. */
#include "base/error.h"
#include "base/text.h"
#include "codec/hash.h"
#include "job/plain-copy.h"
#include "job/plain-name.h"
#include "store/mem.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID "0123456789abcdef"

static void test_folders(void)
{
    static const char *const names[][2] = {
        {"web01.example.com", "web01.example.com"},
        {"Web 01", "web_01"},
        {"\303\234ber/../x", "_ber_.._x"},
        {"..", "_."},
        {".hidden", "_hidden"},
        {"config", "config_"},
        {"Snapshots", "snapshots_"},
        {"vmsnap-images.json", "vmsnap-images.json_"},
        {"a.tmp-abcdef", "a_tmp-abcdef"},
        {"\xff\xfe", "__"},
        {"", "_"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *folder = vms_plain_folder(names[i][0]);
        g_assert_cmpstr(folder, ==, names[i][1]);
        g_autofree char *object = vms_plain_object(folder, ID, "vda.qcow2");
        g_assert_true(vms_store_valid_name(object));
    }
    g_autofree char *text = g_strnfill(300, 'a');
    g_autofree char *folder = vms_plain_folder(text);
    g_assert_cmpuint(strlen(folder), <, 255);
}

static void test_files(void)
{
    g_assert_true(vms_plain_is_file("vda.qcow2"));
    g_assert_true(vms_plain_is_file("tpm/tpm2-00.permall"));
    static const char *const wrong[] = {"vmsnap.json", "../x",   "tpm/a/b", "a/b",
                                        "/etc/passwd", "tpm/..", "",        "A"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        g_assert_false(vms_plain_is_file(wrong[i]));
}

static VmsManifest *sample(void)
{
    VmsManifest *manifest = vms_manifest_new();
    manifest->format = VMS_FORMAT_QCOW2;
    manifest->id = g_strdup(ID);
    manifest->domain = g_strdup("Web 01");
    manifest->uuid = g_strdup("6a3f0a39-0a3c-4b13-8f14-0c5b3b3c7f11");
    manifest->host = g_strdup("host");
    manifest->version_vmsnap = g_strdup("1");
    VmsManifestDisk *disk = vms_manifest_add_disk(manifest, "vda", NULL, "raw", "/vda", 1 << 20);
    disk->chunk_size = 65536;
    disk->image = vms_manifest_file_new("vda.qcow2", 12345, SHA);
    disk->image->backing = g_strdup("fedcba9876543210");
    g_ptr_array_add(manifest->files, vms_manifest_file_new("tpm/state", 7, SHA));
    return manifest;
}

static void test_manifest(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsManifest) manifest = sample();
    g_autofree char *json = vms_manifest_to_json(manifest);
    g_autoptr(VmsManifest) read = vms_manifest_parse(json, strlen(json), &error);
    g_assert_no_error(error);
    g_assert_cmpint(read->format, ==, VMS_FORMAT_QCOW2);
    const VmsManifestFile *image = vms_manifest_disk(read, "vda")->image;
    g_assert_cmpstr(image->name, ==, "vda.qcow2");
    g_assert_cmpuint(image->bytes, ==, 12345);
    g_assert_cmpstr(image->sha256, ==, SHA);
    g_assert_cmpstr(image->backing, ==, "fedcba9876543210");
    g_assert_cmpuint(read->files->len, ==, 1);
    const VmsManifestFile *file = read->files->pdata[0];
    g_assert_cmpstr(file->name, ==, "tpm/state");
    g_assert_null(file->backing);
    g_assert_null(vms_manifest_disk(read, "vdb"));
}

static void test_hostile_manifests(void)
{
    static const struct {
        const char *what, *by;
        int code;
    } changes[] = {
        {"\"format\": \"qcow2\"", "\"format\": \"qcow3\"", VMS_ERROR_UNSUPPORTED},
        {"\"file\": \"vda.qcow2\"", "\"file\": \"../vda.qcow2\"", VMS_ERROR_INVALID},
        {"\"file\": \"tpm/state\"", "\"file\": \"/etc/passwd\"", VMS_ERROR_INVALID},
        {"\"backing\": \"fedc", "\"backing\": \"../c", VMS_ERROR_INVALID},
        {"\"sha256\": \"0123", "\"sha256\": \"x123", VMS_ERROR_INVALID},
        {"\"image\": ", "\"imago\": ", VMS_ERROR_INVALID},
        {"\"files\": ", "\"filed\": ", VMS_ERROR_INVALID},
    };
    g_autoptr(VmsManifest) manifest = sample();
    g_autofree char *json = vms_manifest_to_json(manifest);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) text = g_string_new(json);
        g_assert_cmpuint(g_string_replace(text, changes[i].what, changes[i].by, 1), ==, 1);
        g_assert_null(vms_manifest_parse(text->str, text->len, &error));
        g_assert_error(error, VMS_ERROR, changes[i].code);
    }
}

/* --- copying --- */

typedef struct {
    char *path;
    uint8_t *bytes;
    size_t len;
    VmsStore *store;
    VmsInput *input;
    VmsPlainStats stats;
} Fixture;

/* An input whose reads end late, and the last one first. */
typedef struct {
    VmsInput input;
    const uint8_t *bytes;
    struct {
        uint64_t offset;
        void *buffer, *user;
        size_t length;
        VmsInputDoneFunc done;
    } reads[16];
    unsigned n_reads;
} Late;

static bool late_drain(VmsInput *input, GError **error)
{
    Late *late = (Late *)input;
    while (late->n_reads > 0) {
        late->n_reads--;
        memcpy(late->reads[late->n_reads].buffer, late->bytes + late->reads[late->n_reads].offset,
               late->reads[late->n_reads].length);
        late->reads[late->n_reads].done(late->reads[late->n_reads].user);
    }
    return true;
}

static bool late_start(VmsInput *input, uint64_t offset, void *buffer, size_t length, unsigned most,
                       VmsInputDoneFunc done, void *user, GError **error)
{
    Late *late = (Late *)input;
    g_assert_cmpuint(most, <=, G_N_ELEMENTS(late->reads));
    if (late->n_reads == most)
        late_drain(input, error);
    late->reads[late->n_reads].offset = offset;
    late->reads[late->n_reads].buffer = buffer;
    late->reads[late->n_reads].length = length;
    late->reads[late->n_reads].done = done;
    late->reads[late->n_reads].user = user;
    late->n_reads++;
    return true;
}

static void setup(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    int fd = g_file_open_tmp("vmsnap-plain-XXXXXX", &f->path, &error);
    g_assert_no_error(error);
    g_close(fd, NULL);
    f->len = 30 * MIB + 777; /* goes round in the ring */
    f->bytes = g_malloc(f->len);
    for (size_t i = 0; i < f->len; i++)
        f->bytes[i] = (uint8_t)(i * 7 + (i >> 16));
    g_assert_true(g_file_set_contents(f->path, (char *)f->bytes, (gssize)f->len, &error));
    f->store = vms_mem_new();
    f->input = vms_input_file(f->path, &error);
    g_assert_no_error(error);
}

static void teardown(Fixture *f, const void *data)
{
    vms_input_free(f->input);
    vms_store_free(f->store);
    g_remove(f->path);
    g_free(f->path);
    g_free(f->bytes);
}

/* All of it and some zeroes behind, as an object that is said to have size bytes. */
static VmsManifestFile *copy(Fixture *f, uint64_t size, GCancellable *cancellable, GError **error)
{
    g_autoptr(VmsPlainObject) object =
        vms_plain_object_new(f->store, "a/b/vda.qcow2", size, &f->stats, cancellable, error);
    VmsPlainCopyOptions options = {.input = f->input,
                                   .object = object,
                                   .stats = &f->stats,
                                   .item = "vda",
                                   .cancellable = cancellable};
    if (!object || !vms_plain_object_write(object, "head", 4, error))
        return NULL;
    g_autoptr(VmsPlainCopy) way = vms_plain_copy_new(&options);
    g_autoptr(GError) cause = NULL;
    bool ok = vms_plain_copy_range(way, 0, 3 * MIB + 5, &cause) &&
              vms_plain_copy_range(way, 3 * MIB + 5, f->len + 100 - 3 * MIB - 5, &cause);
    if (!vms_plain_copy_end(way, error))
        return NULL;
    if (!ok) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    return vms_plain_object_finish(object, "vda.qcow2", error);
}

static void test_copy(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    uint8_t hash[VMS_HASH_LEN];
    VmsManifestFile *file = copy(f, f->len + 104, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) stored =
        vms_store_get(f->store, "a/b/vda.qcow2", 0, UINT64_MAX, NULL, &error);
    g_assert_no_error(error);
    const uint8_t *bytes = g_bytes_get_data(stored, NULL);
    static const uint8_t zeroes[100];
    g_assert_cmpuint(g_bytes_get_size(stored), ==, f->len + 104);
    g_assert_true(memcmp(bytes, "head", 4) == 0 && memcmp(bytes + 4, f->bytes, f->len) == 0 &&
                  memcmp(bytes + 4 + f->len, zeroes, sizeof zeroes) == 0);
    vms_hash(bytes, f->len + 104, hash);
    g_autofree char *hex = vms_text_hex(hash, sizeof hash);
    g_assert_cmpstr(file->sha256, ==, hex);
    g_assert_cmpuint(file->bytes, ==, f->len + 104);
    g_assert_cmpuint(f->stats.bytes_read, ==, f->len);
    g_assert_cmpuint(f->stats.bytes_uploaded, ==, f->len + 104);
    vms_manifest_file_free(file);
}

static void test_copy_late(Fixture *f, const void *data)
{
    Late late = {.bytes = f->bytes};
    late.input.size = f->len;
    late.input.start = late_start;
    late.input.drain = late_drain;
    VmsInput *file = f->input;
    f->input = &late.input;
    test_copy(f, data);
    f->input = file;
}

static void nothing_stored(const Fixture *f)
{
    g_autoptr(GError) error = NULL;
    bool exists = true;
    vms_store_has(f->store, "a/b/vda.qcow2", &exists, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(exists);
}

static void test_copy_fails(Fixture *f, const void *data)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(copy(f, f->len + 105, NULL, &error)); /* a byte is missing */
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(copy(f, MIB, NULL, &error)); /* the uploading thread fails */
    g_assert_error(error, VMS_ERROR, VMS_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_cmpint(truncate(f->path, (off_t)(20 * MIB)), ==, 0);
    g_assert_null(copy(f, f->len + 104, NULL, &error)); /* the reader fails */
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CORRUPT);
    g_clear_error(&error);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_cancellable_cancel(cancellable);
    g_assert_null(copy(f, f->len + 104, cancellable, &error));
    g_assert_error(error, VMS_ERROR, VMS_ERROR_CANCELLED);
    nothing_stored(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plain/folders", test_folders);
    g_test_add_func("/plain/files", test_files);
    g_test_add_func("/plain/manifest", test_manifest);
    g_test_add_func("/plain/hostile-manifests", test_hostile_manifests);
    g_test_add("/plain/copy", Fixture, NULL, setup, test_copy, teardown);
    g_test_add("/plain/copy-late", Fixture, NULL, setup, test_copy_late, teardown);
    g_test_add("/plain/copy-fails", Fixture, NULL, setup, test_copy_fails, teardown);
    return g_test_run();
}
