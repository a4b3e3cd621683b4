/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ground everything stands on: files that are whole or absent, checked JSON, bounded queues. */
#include "base/db.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/json-writer.h"
#include "base/json.h"
#include "base/process.h"
#include "base/queue.h"
#include "base/rate.h"
#include "base/secret.h"
#include "base/text.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *scratch;

static char *scratch_path(const char *name)
{
    return g_build_filename(scratch, name, NULL);
}

static void test_errors(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(vms_fail_errno(&error, ENOSPC, "disk %s", "vda"));
    g_assert_true(vms_error_is(error, VMS_ERROR_NO_SPACE));
    vms_prefix(&error, "web01");
    g_assert_cmpstr(error->message, ==, "web01: disk vda: No space left on device");
    g_assert_cmpint(vms_error_exit_status(error), ==, 9);
    g_assert_cmpstr(vms_error_name(error), ==, "no-space");
    g_assert_cmpint(vms_error_exit_status(NULL), ==, 0);
    g_autoptr(GError) foreign = g_error_new(G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "gone");
    vms_convert(&foreign);
    g_assert_true(vms_error_is(foreign, VMS_ERROR_NOT_FOUND));
}

static void test_durable(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = scratch_path("a/b/file");
    g_autofree char *dir = scratch_path("a/b");
    g_assert_true(vms_durable_mkdir(dir, 0700, &error));
    g_assert_true(vms_durable_write(path, "one", 3, 0600, &error));
    g_assert_true(vms_durable_write(path, "four", 4, 0600, &error));
    g_assert_false(vms_durable_create(path, "x", 1, 0600, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_EXISTS));
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "four");
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    g_autoptr(GDir) listing = g_dir_open(dir, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(listing), ==, "file");
    g_assert_null(g_dir_read_name(listing)); /* no temporary file is left */
}

/* Lengths around whole pages, and data that begins within one: with and without a page cache in the
 * middle, on a file system that knows the difference and one that may not. */
static void test_durable_large(void)
{
    const size_t lengths[] = {(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 4096 + 123};
    const char *const folders[] = {scratch, "/dev/shm"};
    const size_t room = 4 << 20;
    uint8_t *data = g_aligned_alloc(1, room, 4096);
    for (size_t i = 0; i < room; i++)
        data[i] = (uint8_t)(i * 31 + i / 4096);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths) * G_N_ELEMENTS(folders) * 2; i++) {
        g_autoptr(GError) error = NULL;
        size_t len = lengths[i / 4], shift = i % 2 * 8, got = 0;
        g_autofree char *path =
            g_strdup_printf("%s/vmsnap-large-%d", folders[i / 2 % 2], (int)getpid());
        g_autofree char *text = NULL;
        g_assert_true(vms_durable_write(path, data + shift, len, 0600, &error));
        g_assert_true(g_file_get_contents(path, &text, &got, NULL));
        g_assert_cmpmem(text, got, data + shift, len);
        g_unlink(path);
    }
    g_aligned_free(data);
}

static void assert_invalid(const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsJson) json = vms_json_parse(text, strlen(text), &error);
    uint64_t number;
    VmsJson *list = NULL, *first = NULL;
    bool ok = json && vms_json_array(json, "disks", &list, &error) &&
              vms_json_element_object(list, 0, &first, &error) &&
              vms_json_uint64(first, "size", &number, &error);
    g_assert_false(ok);
    g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
    g_assert_nonnull(strstr(error->message, part));
}

static void test_json(void)
{
    assert_invalid("{\"disks\":[{\"size\":\"12\"}]}", "disks[0].size: is not a whole number");
    assert_invalid("{\"disks\":[{\"size\":18446744073709551615}]}", "disks[0].size");
    assert_invalid("{\"disks\":[{\"size\":-1}]}", "disks[0].size");
    assert_invalid("{\"disks\":[{\"size\":1.5}]}", "disks[0].size");
    assert_invalid("{\"disks\":[{}]}", "disks[0].size: is missing");
    assert_invalid("{\"disks\":[]}", "disks[0]: is missing");
    assert_invalid("{\"disks\":{}}", "disks: is not an array");
    assert_invalid("[]", "document: is not an object");
    assert_invalid("", "JSON");
    assert_invalid("{\"disks\":[{\"size\":12", "malformed");
    g_autofree char *deep = g_strnfill(100000, '[');
    assert_invalid(deep, "nests deeper");
    g_autofree char *behind_a_comment = g_strconcat("/*\"*/", deep, NULL);
    assert_invalid(behind_a_comment, "malformed JSON");
    assert_invalid("[/*\"*/[", "unexpected byte 0x2f");
    assert_invalid("5{\"disks\":[{\"size\":1}]}", "not one object");
    assert_invalid("{}{\"disks\":[{\"size\":1}]}", "not one object");
    g_autoptr(GString) many = g_string_new("[1");
    for (unsigned i = 0; i < VMS_JSON_MAX_VALUES; i++)
        g_string_append(many, ",1");
    g_string_append_c(many, ']');
    assert_invalid(many->str, "values");
    g_autoptr(GError) error = NULL;
    const char *text = "{\"a\":{\"b\":[\"x\"]},\"n\":9007199254740993,\"t\":true,\"z\":null}";
    g_autoptr(VmsJson) json = vms_json_parse(text, strlen(text), &error);
    g_assert_no_error(error);
    VmsJson *a, *b;
    const char *x;
    uint64_t n;
    bool t;
    g_assert_true(vms_json_object(json, "a", &a, &error) && vms_json_array(a, "b", &b, &error));
    g_assert_true(vms_json_element_string(b, 0, &x, &error));
    g_assert_cmpstr(x, ==, "x");
    g_assert_true(vms_json_uint64(json, "n", &n, &error) && n == 9007199254740993u);
    g_assert_true(vms_json_bool(json, "t", &t, &error) && t);
    g_assert_false(vms_json_has(json, "z"));
    g_assert_true(vms_json_has(json, "a"));
}

static void test_json_writer(void)
{
    g_autoptr(VmsJsonWriter) writer = vms_json_writer_new(false);
    vms_json_writer_begin_object(writer);
    vms_json_writer_member_string(writer, "a\"b", "line\n\x01\xff");
    vms_json_writer_key(writer, "list");
    vms_json_writer_begin_array(writer);
    vms_json_writer_uint64(writer, UINT64_MAX);
    vms_json_writer_int64(writer, -1);
    vms_json_writer_double(writer, 0.5);
    vms_json_writer_begin_object(writer);
    vms_json_writer_end_object(writer);
    vms_json_writer_end_array(writer);
    vms_json_writer_member_string(writer, "none", NULL);
    vms_json_writer_end_object(writer);
    g_autofree char *text = vms_json_writer_finish(writer);
    g_assert_cmpstr(text, ==,
                    "{\"a\\\"b\":\"line\\n\\u0001\xef\xbf\xbd\","
                    "\"list\":[18446744073709551615,-1,0.5,{}],\"none\":null}");
}

static void *produce(void *data)
{
    for (size_t i = 1; i <= 1000; i++)
        g_assert_true(vms_queue_push(data, GSIZE_TO_POINTER(i)));
    vms_queue_close(data);
    return NULL;
}

static void test_queue(void)
{
    g_autoptr(VmsQueue) queue = vms_queue_new(3, NULL);
    GThread *thread = g_thread_new("produce", produce, queue);
    size_t sum = 0;
    for (void *item; (item = vms_queue_pop(queue));)
        sum += GPOINTER_TO_SIZE(item);
    g_thread_join(thread);
    g_assert_cmpuint(sum, ==, 500500);
    g_assert_false(vms_queue_push(queue, queue));
}

static void test_text(void)
{
    g_autoptr(GError) error = NULL;
    uint64_t bytes;
    g_assert_true(vms_text_parse_size("1.5GiB", &bytes, &error) && bytes == 1610612736);
    g_assert_true(vms_text_parse_size("64K", &bytes, &error) && bytes == 65536);
    g_assert_true(vms_text_parse_size("7", &bytes, &error) && bytes == 7);
    for (const char *const *bad =
             (const char *[]){"", "-1", "K", "1X", "1KK", "99999E", "1 K", NULL};
         *bad; bad++)
        g_assert_false(vms_text_parse_size(*bad, &bytes, NULL));
    g_autofree char *size = vms_text_size(1610612736);
    g_assert_cmpstr(size, ==, "1.5 GiB");
    int64_t us;
    g_assert_true(vms_text_parse_time("2026-11-21T08:09:10.123456789+01:00", &us, &error));
    g_autofree char *time = vms_text_time(us);
    g_assert_cmpstr(time, ==, "2026-11-21T07:09:10.123456000Z");
    g_assert_false(vms_text_parse_time("0001-01-01T00:00:00+14:00", &us, NULL));
    g_autofree char *before = vms_text_time(-1), *first = vms_text_time(INT64_MIN);
    g_autofree char *last = vms_text_time(INT64_MAX);
    g_assert_cmpstr(before, ==, "1969-12-31T23:59:59.999999000Z");
    g_assert_cmpstr(first, ==, "0001-01-01T00:00:00.000000000Z");
    g_assert_cmpstr(last, ==, "9999-12-31T23:59:59.999999000Z");
    uint8_t raw[2];
    g_assert_true(vms_text_unhex("aBff", raw, 2, &error));
    g_autofree char *hex = vms_text_hex(raw, 2);
    g_assert_cmpstr(hex, ==, "abff");
    g_assert_false(vms_text_unhex("abf", raw, 2, NULL));
    g_assert_false(vms_text_unhex("abfg", raw, 2, NULL));
}

static void test_db(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = scratch_path("test.db");
    const char *const first[] = {"CREATE TABLE t (a INTEGER, b BLOB)", NULL};
    const char *const second[] = {first[0], "ALTER TABLE t ADD COLUMN c TEXT", NULL};
    g_autoptr(VmsDb) db = vms_db_open(path, true, first, &error);
    g_assert_no_error(error);
    g_clear_pointer(&db, vms_db_free);
    db = vms_db_open(path, true, second, &error);
    g_assert_no_error(error);
    g_autoptr(VmsDbStmt) stmt = vms_db_prepare(db, "INSERT INTO t VALUES (1, ?1, ?2)", &error);
    vms_db_bind_blob(stmt, 1, "\0x", 2);
    vms_db_bind_text(stmt, 2, "text");
    g_assert_true(vms_db_run(stmt, &error));
    g_autoptr(VmsDbStmt) query = vms_db_prepare(db, "SELECT b, c FROM t", &error);
    bool row = false;
    g_assert_true(vms_db_step(query, &row, &error) && row);
    size_t len;
    g_assert_cmpmem(vms_db_column_blob(query, 0, &len), 2, "\0x", 2);
    g_assert_cmpstr(vms_db_column_text(query, 1), ==, "text");
    g_autoptr(VmsDb) older = vms_db_open(path, true, first, &error);
    g_assert_null(older);
    g_assert_true(vms_error_is(error, VMS_ERROR_UNSUPPORTED));
    g_clear_error(&error);
    g_autofree char *garbage = scratch_path("garbage.db");
    g_assert_true(g_file_set_contents(garbage, "this is not a database, not at all", -1, NULL));
    g_assert_null(vms_db_open(garbage, false, first, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CORRUPT));
}

static uint64_t allocated(const char *path, const char *suffix)
{
    struct stat st;
    g_autofree char *file = g_strconcat(path, suffix, NULL);
    g_assert_cmpint(stat(file, &st), ==, 0);
    return (uint64_t)st.st_blocks * 512;
}

/* What a full file system later is written to is there already, and stays. */
static void test_db_room(void)
{
    static const char *const migrations[] = {"CREATE TABLE t (a BLOB)", NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *path = scratch_path("room.db");
    for (uint64_t rows = 1; rows < 4; rows++) {
        g_autoptr(VmsDb) db = vms_db_open(path, true, migrations, &error);
        g_assert_no_error(error);
        vms_db_keep_room(db);
        g_assert_cmpuint(allocated(path, "-wal"), >=, 1 << 20);
        g_assert_cmpuint(allocated(path, ""), >=, ((rows - 1) * 100 + 256) << 10);
        g_assert_true(vms_db_exec(db, "INSERT INTO t VALUES (zeroblob(102400))", &error));
        g_clear_pointer(&db, vms_db_free);
        g_assert_cmpuint(allocated(path, "-wal"), >=, 1 << 20);
    }
}

static void test_process(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;
    g_assert_true(vms_process_run((const char *[]){"echo", "a b", NULL}, NULL, &out, &error));
    g_assert_cmpstr(out, ==, "a b\n");
    const char *const bad[] = {"sh", "-c", "echo first >&2; echo why >&2; exit 3", NULL};
    g_assert_false(vms_process_run(bad, NULL, NULL, &error));
    g_assert_cmpstr(error->message, ==, "sh: why");
    g_clear_error(&error);
    g_assert_false(vms_process_run((const char *[]){"no-such-program", NULL}, NULL, NULL, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_NOT_FOUND));
    g_clear_error(&error);
    g_autoptr(GCancellable) cancelled = g_cancellable_new();
    g_cancellable_cancel(cancelled);
    const char *const sleeps[] = {"sleep", "100", NULL};
    g_assert_false(vms_process_run(sleeps, cancelled, NULL, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CANCELLED));
}

/* Both outputs at once, each more than a pipe holds. */
static void test_process_output(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;
    const char *const talks[] = {"sh", "-c",
                                 "for i in 1 2 3 4; do head -c 100000 /dev/zero | tr '\\0' e >&2; "
                                 "head -c 100000 /dev/zero | tr '\\0' o; done",
                                 NULL};
    g_assert_true(vms_process_run(talks, NULL, &out, &error));
    g_assert_cmpuint(strlen(out), ==, 400000);
    g_assert_cmpuint(strspn(out, "o"), ==, 400000);
    const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    g_assert_false(vms_process_run(killed, NULL, NULL, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_FAILED));
    g_clear_error(&error);
    const char *const endless[] = {"cat", "/dev/zero", NULL};
    g_assert_false(vms_process_run(endless, NULL, NULL, &error));
    g_assert_nonnull(strstr(error->message, "printed more than"));
}

static void *cancel_once_there(void *data)
{
    void **of = data;
    while (!g_file_test(of[0], G_FILE_TEST_EXISTS))
        g_usleep(1000);
    g_cancellable_cancel(of[1]);
    return NULL;
}

/* While it runs; it is gone afterwards. */
static void test_process_cancelled(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *there = scratch_path("there");
    g_autofree char *script =
        g_strdup_printf("echo $$ > %s.new; mv %s.new %s; exec sleep 1000", there, there, there);
    const char *const sleeps[] = {"sh", "-c", script, NULL};
    void *of[] = {there, cancellable};
    GThread *thread = g_thread_new("cancels", cancel_once_there, of);
    g_assert_false(vms_process_run(sleeps, cancellable, NULL, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CANCELLED));
    g_thread_join(thread);
    g_autofree char *pid = NULL;
    g_assert_true(g_file_get_contents(there, &pid, NULL, NULL));
    g_assert_cmpint(kill((pid_t)g_ascii_strtoll(pid, NULL, 10), 0), ==, -1);
}

/* What is taken is paid for before the next may pass; nothing is owed for the first. */
static void test_rate(void)
{
    g_autoptr(VmsRate) rate = vms_rate_new(1000000);
    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    int64_t start = g_get_monotonic_time();
    for (int i = 0; i < 5; i++)
        g_assert_true(vms_rate_take(rate, 100000, cancellable, &error));
    /* four are paid for; a quarter of a second may have been saved up */
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 400000 - 250000);
    g_assert_true(vms_rate_take(rate, G_MAXUINT64, cancellable, &error));
    g_cancellable_cancel(cancellable);
    g_assert_false(vms_rate_take(rate, 1, cancellable, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CANCELLED));
    g_assert_true(vms_rate_take(NULL, G_MAXUINT64, NULL, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    scratch = g_dir_make_tmp("vmsnap-base-XXXXXX", NULL);
    g_test_add_func("/base/errors", test_errors);
    g_test_add_func("/base/durable", test_durable);
    g_test_add_func("/base/durable-large", test_durable_large);
    g_test_add_func("/base/json", test_json);
    g_test_add_func("/base/json-writer", test_json_writer);
    g_test_add_func("/base/queue", test_queue);
    g_test_add_func("/base/text", test_text);
    g_test_add_func("/base/db", test_db);
    g_test_add_func("/base/db-room", test_db_room);
    g_test_add_func("/base/rate", test_rate);
    g_test_add_func("/base/process", test_process);
    g_test_add_func("/base/process-output", test_process_output);
    g_test_add_func("/base/process-cancelled", test_process_cancelled);
    int status = g_test_run();
    const char *remove[] = {"rm", "-rf", scratch, NULL};
    g_spawn_sync(NULL, (char **)remove, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(scratch);
    return status;
}
