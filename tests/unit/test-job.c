/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the jobs remember: the catalog, the manifest, the lock of a domain. */
#include "base/error.h"
#include "job/catalog.h"
#include "job/domain-lock.h"
#include "job/manifest.h"

#include <string.h>

static VmsConfig config;

static VmsRecord *sample(const char *id, const char *domain, int64_t time_us)
{
    VmsRecord *record = vms_record_new();
    record->id = g_strdup(id);
    record->domain = g_strdup(domain);
    record->uuid = g_strdup_printf("uuid-of-%s", domain);
    record->status = VMS_STATUS_CAPTURED;
    record->created_us = time_us;
    record->engine = VMS_ENGINE_COW;
    record->timing.pause_us = 41000;
    record->timing.write_us = INT64_C(5000000000);
    record->heartbeat = (VmsHeartbeatGaps){77, 6000, 42000, -1};
    record->consistency = VMS_CONSISTENCY_MEMORY;
    record->memory_path = g_strdup("/memory/file.save");
    record->memory_size = 1234567890123;
    record->domain_xml = g_strdup("<domain/>");
    VmsRecordDisk *disk = vms_record_add_disk(record, "vda");
    disk->base = g_strdup("/images/a.qcow2");
    disk->base_format = g_strdup("qcow2");
    disk->overlay = g_strdup("/images/a.vmsnap-1.qcow2");
    disk->device = 259;
    disk->inode = UINT64_C(0x8000000000000001);
    disk->capacity = 1ull << 40;
    disk = vms_record_add_disk(record, "vdb");
    disk->bus = g_strdup("virtio");
    disk->base = g_strdup("/images/b.raw");
    disk->base_format = g_strdup("raw");
    disk->overlay = g_strdup("/images/b.vmsnap-1.qcow2");
    disk->merged = true;
    disk->chain = g_strdup("f:1:2:3:4.5 6.7 /images/b.raw\n");
    disk->bitmap = g_strdup("vmsnap-1");
    disk->tracking = (VmsDiskTracking){VMS_TRACKING_OVERLAY, g_strnfill(64, 'e'), 77, NULL};
    vms_record_add_note(record, "disk-cdrom-skipped", "disk %s: is a cdrom", "sda");
    return record;
}

static void test_catalog_keeps(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(&config, &error);
    g_assert_no_error(error);
    g_autoptr(VmsRecord) saved = sample("aaaa111122223333", "web01", 1000);
    g_assert_true(vms_catalog_save(catalog, saved, &error));
    saved->status = VMS_STATUS_EXPORTED;
    saved->repository_snapshot = g_strnfill(64, 'c');
    int64_t sequence = 0;
    g_assert_true(vms_catalog_next_export(catalog, &sequence, &error));
    vms_record_set_export(saved, VMS_FORMAT_RESTIC, "repository-1", "old", sequence);
    vms_record_set_export(saved, VMS_FORMAT_QCOW2, "repository-1", saved->repository_snapshot,
                          sequence + 1);
    g_assert_true(vms_catalog_save(catalog, saved, &error));
    g_autoptr(VmsRecord) read = vms_catalog_find(catalog, "aaaa", &error);
    g_assert_no_error(error);
    g_assert_cmpint(read->status, ==, VMS_STATUS_EXPORTED);
    g_assert_cmpint(read->consistency, ==, VMS_CONSISTENCY_MEMORY);
    g_assert_cmpuint(read->memory_size, ==, 1234567890123);
    g_assert_cmpint(read->engine, ==, VMS_ENGINE_COW);
    g_assert_cmpmem(&read->timing, sizeof read->timing, &saved->timing, sizeof saved->timing);
    g_assert_cmpmem(&read->heartbeat, sizeof read->heartbeat, &saved->heartbeat,
                    sizeof saved->heartbeat);
    g_assert_cmpuint(read->disks->len, ==, 2);
    const VmsRecordDisk *a = read->disks->pdata[0], *b = read->disks->pdata[1];
    g_assert_cmpstr(a->overlay, ==, "/images/a.vmsnap-1.qcow2");
    g_assert_cmpuint(a->inode, ==, UINT64_C(0x8000000000000001));
    g_assert_cmpuint(a->capacity, ==, 1ull << 40);
    g_assert_false(a->merged);
    g_assert_true(b->merged);
    g_assert_cmpstr(b->bus, ==, "virtio");
    g_assert_cmpint(a->tracking.method, ==, VMS_TRACKING_UNKNOWN);
    g_assert_null(a->chain);
    g_assert_cmpint(b->tracking.method, ==, VMS_TRACKING_OVERLAY);
    g_assert_cmpuint(b->tracking.bytes_changed, ==, 77);
    g_assert_cmpuint(strlen(b->tracking.parent), ==, 64);
    g_assert_cmpstr(b->chain, ==, "f:1:2:3:4.5 6.7 /images/b.raw\n");
    g_assert_cmpstr(b->bitmap, ==, "vmsnap-1");
    g_assert_cmpuint(read->exports->len, ==, 1);
    const VmsRecordExport *export = vms_record_export(read, "repository-1");
    g_assert_cmpstr(export->snapshot, ==, read->repository_snapshot);
    g_assert_cmpint(export->format, ==, VMS_FORMAT_QCOW2);
    g_assert_cmpint(vms_record_format(read), ==, VMS_FORMAT_QCOW2);
    g_assert_null(vms_record_export(read, "repository-2"));
    int64_t next = 0;
    g_assert_true(vms_catalog_next_export(catalog, &next, &error));
    g_assert_cmpint(next, >, export->sequence);
    g_assert_cmpuint(read->notes->len, ==, 1);
    g_assert_cmpstr(((VmsNote *)read->notes->pdata[0])->text, ==, "disk sda: is a cdrom");
    g_autoptr(VmsRecord) by_repository = vms_catalog_find(catalog, "cccc", &error);
    g_assert_cmpstr(by_repository->id, ==, saved->id);
}

static void test_catalog_finds(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(&config, &error);
    const char *const ids[] = {"bbbb000000000001", "bbbb000000000002"};
    /* The clock is set back between them, and the first one is saved again. */
    const size_t order[] = {0, 1, 0};
    for (size_t i = 0; i < G_N_ELEMENTS(order); i++) {
        g_autoptr(VmsRecord) record = sample(ids[order[i]], "db01", 3000 - (int64_t)order[i]);
        record->status = order[i] ? VMS_STATUS_DONE : VMS_STATUS_CAPTURED;
        g_assert_true(vms_catalog_save(catalog, record, &error));
    }
    g_assert_null(vms_catalog_find(catalog, "bbbb", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
    g_assert_nonnull(strstr(error->message, ids[1]));
    g_clear_error(&error);
    g_assert_null(vms_catalog_find(catalog, "dddd", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_NOT_FOUND));
    g_clear_error(&error);
    const char *const bad[] = {"bbb", "", "web01", "bbbb%", "BBBB"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(vms_catalog_find(catalog, bad[i], &error));
        g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
        g_clear_error(&error);
    }
    g_autoptr(GPtrArray) all = vms_catalog_list(catalog, "db01", true, &error);
    g_assert_cmpuint(all->len, ==, 2);
    g_assert_cmpstr(((VmsRecord *)all->pdata[0])->id, ==, ids[0]); /* made first */
    g_autoptr(GPtrArray) open = vms_catalog_list(catalog, "uuid-of-db01", false, &error);
    g_assert_cmpuint(open->len, ==, 1);
}

static VmsManifest *sample_manifest(void)
{
    VmsManifest *manifest = vms_manifest_new();
    manifest->id = g_strdup("aaaa111122223333");
    manifest->domain = g_strdup("web \"01\"");
    manifest->uuid = g_strdup("u");
    manifest->host = g_strdup("h");
    manifest->time_us = 1795248550123456;
    manifest->engine = VMS_ENGINE_LIVE;
    manifest->consistency = VMS_CONSISTENCY_QUIESCED;
    manifest->frozen_filesystems = 2;
    manifest->memory_size = 77;
    manifest->memory_layout = VMS_MEMORY_PAGES;
    manifest->nvram = true;
    manifest->full_reason = g_strdup("no-tracking");
    manifest->version_vmsnap = g_strdup("0.1.0");
    vms_manifest_add_disk(manifest, "vda", "virtio", "raw", "/images/a", 5ull << 40)->chunk_size =
        1 << 20;
    vms_notes_add(manifest->notes, "code", "text");
    return manifest;
}

static void test_manifest(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsManifest) written = sample_manifest();
    g_autofree char *text = vms_manifest_to_json(written);
    g_autoptr(VmsManifest) read = vms_manifest_parse(text, strlen(text), &error);
    g_assert_no_error(error);
    g_autofree char *again = vms_manifest_to_json(read);
    g_assert_cmpstr(text, ==, again);
    g_assert_cmpuint(((VmsManifestDisk *)read->disks->pdata[0])->size, ==, 5ull << 40);
}

/* vmsnap 0.1 knew one layout and did not name it. */
static void test_manifest_without_layout(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsManifest) written = sample_manifest();
    g_autofree char *text = vms_manifest_to_json(written);
    g_auto(GStrv) parts = g_strsplit(text, "\"layout\": \"pages\"", 2);
    g_assert_nonnull(parts[1]);
    *strrchr(parts[0], ',') = ' ';
    g_autofree char *old = g_strjoinv("", parts);
    g_autoptr(VmsManifest) read = vms_manifest_parse(old, strlen(old), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(read->memory_size, ==, 77);
    g_assert_cmpint(read->memory_layout, ==, VMS_MEMORY_STREAM);
}

static void assert_refused(const char *from, const char *to, VmsErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsManifest) written = sample_manifest();
    g_autofree char *text = vms_manifest_to_json(written);
    g_auto(GStrv) parts = g_strsplit(text, from, 2);
    g_assert_nonnull(parts[1]);
    g_autofree char *broken = g_strjoinv(to, parts);
    g_assert_null(vms_manifest_parse(broken, strlen(broken), &error));
    g_assert_true(vms_error_is(error, code));
}

static void test_manifest_refuses(void)
{
    assert_refused("manifest.v1", "manifest.v2", VMS_ERROR_UNSUPPORTED);
    assert_refused("vmsnap.manifest.v1", "other", VMS_ERROR_INVALID);
    assert_refused("\"live\"", "\"teleport\"", VMS_ERROR_UNSUPPORTED);
    assert_refused("\"pages\"", "\"origami\"", VMS_ERROR_UNSUPPORTED);
    assert_refused("1048576", "0", VMS_ERROR_INVALID);
    assert_refused("1048576", "3000000", VMS_ERROR_INVALID);
    assert_refused("\"vda\"", "\"../vda\"", VMS_ERROR_INVALID);
    assert_refused("\"disks\"", "\"diskettes\"", VMS_ERROR_INVALID);
    assert_refused("\"nvram\": true", "\"nvram\": 1", VMS_ERROR_INVALID);
}

static void test_domain_lock(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsDomainLock) first = vms_domain_lock(&config, "u1", "web01", &error);
    g_assert_no_error(error);
    g_autoptr(VmsDomainLock) other = vms_domain_lock(&config, "u2", "web02", &error);
    g_assert_no_error(error);
    g_assert_null(vms_domain_lock(&config, "u1", "web01", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_LOCKED));
    g_clear_pointer(&first, vms_domain_lock_free);
    g_clear_error(&error);
    first = vms_domain_lock(&config, "u1", "web01", &error);
    g_assert_no_error(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    char *scratch = g_dir_make_tmp("vmsnap-job-XXXXXX", NULL);
    config.state_dir = g_build_filename(scratch, "state", NULL);
    config.run_dir = g_build_filename(scratch, "run", NULL);
    g_test_add_func("/job/catalog/keeps", test_catalog_keeps);
    g_test_add_func("/job/catalog/finds", test_catalog_finds);
    g_test_add_func("/job/manifest/round-trip", test_manifest);
    g_test_add_func("/job/manifest/without-layout", test_manifest_without_layout);
    g_test_add_func("/job/manifest/refuses", test_manifest_refuses);
    g_test_add_func("/job/domain-lock", test_domain_lock);
    int status = g_test_run();
    const char *remove[] = {"rm", "-rf", scratch, NULL};
    g_spawn_sync(NULL, (char **)remove, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(config.state_dir);
    g_free(config.run_dir);
    g_free(scratch);
    return status;
}
