/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading images: extents and bytes as they are, formats as they are given, and servers that live
 * exactly as long as they should. */
#include "images.h"

#include "base/error.h"
#include "block/source.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1 << 20)

static VmsServer *serve(const char *path, const char *format)
{
    g_autoptr(GError) error = NULL;
    VmsServer *server = vms_server_start(path, format, NULL, &error);
    g_assert_no_error(error);
    return server;
}

static VmsSource *open_source(VmsServer *server)
{
    g_autoptr(GError) error = NULL;
    VmsSource *source = vms_source_open(server, &error);
    g_assert_no_error(error);
    return source;
}

/* "0+4 z" pieces: offset and length in units, and whether zero. */
typedef struct {
    GString *text;
    uint64_t unit, next, count;
} Walk;

static bool on_extent(void *user, uint64_t offset, uint64_t length, bool zero, GError **error)
{
    Walk *walk = user;
    g_assert_cmpuint(offset, ==, walk->next); /* in order, without gaps */
    g_assert_cmpuint(length, >, 0);
    walk->next = offset + length;
    walk->count++;
    g_string_append_printf(walk->text, "%s%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT "%s",
                           walk->text->len ? " " : "", offset / walk->unit, length / walk->unit,
                           zero ? "z" : "");
    return true;
}

static char *extents(VmsSource *source, uint64_t offset, uint64_t length, uint64_t unit)
{
    g_autoptr(GError) error = NULL;
    Walk walk = {.text = g_string_new(NULL), .unit = unit, .next = offset};
    vms_source_extents(source, offset, length, on_extent, &walk, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(walk.next, ==, offset + length);
    return g_string_free(walk.text, FALSE);
}

static void check_byte(VmsSource *source, uint64_t offset, uint8_t wanted)
{
    g_autoptr(GError) error = NULL;
    uint8_t bytes[512];
    vms_source_read(source, offset, bytes, sizeof(bytes), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(bytes[0], ==, wanted);
    g_assert_cmpuint(bytes[511], ==, wanted);
}

/* qemu-img would allocate the first block. */
static void make_sparse(const char *path, off_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    g_assert_cmpint(ftruncate(fd, size), ==, 0);
    close(fd);
}

static void test_raw(void)
{
    g_autofree char *path = images_path("sparse.raw");
    make_sparse(path, 64 * MIB);
    images_run("qemu-io", "-f", "raw", "-c", "write -q -P 7 8M 4M", path, NULL);
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_assert_cmpuint(vms_source_size(source), ==, 64 * MIB);
    g_autofree char *all = extents(source, 0, 64 * MIB, MIB);
    g_assert_cmpstr(all, ==, "0+8z 8+4 12+52z");
    g_autofree char *part = extents(source, 10 * MIB, 4 * MIB, MIB);
    g_assert_cmpstr(part, ==, "10+2 12+2z");
    check_byte(source, 8 * MIB, 7);
    check_byte(source, 12 * MIB - 512, 7);
    check_byte(source, 12 * MIB, 0);
}

/* A read is exact however many requests it takes: 40 MiB is more than QEMU allows in one. */
static void test_long_read(void)
{
    g_autofree char *path = images_path("long.raw");
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "48M", NULL);
    images_run("qemu-io", "-f", "raw", "-c", "write -q -P 1 1M 1M", "-c", "write -q -P 2 39M 1M",
               path, NULL);
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *bytes = g_malloc(40 * MIB);
    vms_source_read(source, 0, bytes, 40 * MIB, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(bytes[MIB - 1], ==, 0);
    g_assert_cmpuint(bytes[MIB], ==, 1);
    g_assert_cmpuint(bytes[40 * MIB - 1], ==, 2);
    g_assert_false(vms_source_read(source, 48 * MIB - 512, bytes, 1024, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
}

/* The frozen image of a second snapshot: an overlay over the first one's base. */
static void test_chain(void)
{
    g_autofree char *base = images_path("chain-base.raw");
    g_autofree char *top = images_path("chain-top.qcow2");
    images_run("qemu-img", "create", "-q", "-f", "raw", base, "16M", NULL);
    images_run("qemu-io", "-f", "raw", "-c", "write -q -P 5 0 2M", base, NULL);
    images_run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, top, NULL);
    images_run("qemu-io", "-f", "qcow2", "-c", "write -q -P 6 1M 1M", "-c", "write -q -z 8M 1M",
               top, NULL);
    g_autoptr(VmsServer) server = serve(top, "qcow2");
    g_autoptr(VmsSource) source = open_source(server);
    g_autofree char *all = extents(source, 0, 16 * MIB, MIB);
    g_assert_cmpstr(all, ==, "0+2 2+14z");
    check_byte(source, 0, 5);
    check_byte(source, MIB, 6);
}

/* 1 TiB with 3 MiB of data: time and memory follow the extents, not the size. */
static void test_terabyte(void)
{
    const uint64_t size = UINT64_C(1) << 40;
    g_autofree char *path = images_path("terabyte.qcow2");
    images_run("qemu-img", "create", "-q", "-f", "qcow2", path, "1T", NULL);
    images_run("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 1M", "-c", "write -q -P 2 500G 1M",
               "-c", "write -q -P 3 1048575M 1M", path, NULL);
    g_autoptr(VmsServer) server = serve(path, "qcow2");
    g_autoptr(VmsSource) source = open_source(server);
    g_assert_cmpuint(vms_source_size(source), ==, size);
    int64_t start = g_get_monotonic_time();
    g_autofree char *all = extents(source, 0, size, MIB);
    double seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    g_assert_cmpstr(all, ==, "0+1 1+511999z 512000+1 512001+536574z 1048575+1");
    g_test_message("walked in %.3f s", seconds);
    g_assert_cmpfloat(seconds, <, 20);
}

/* Every second cluster written: thousands of extents come through merged and complete. */
static void test_many_extents(void)
{
    g_autofree char *path = images_path("many.raw");
    g_autofree uint8_t *data = g_malloc(4096);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    memset(data, 9, 4096);
    for (int i = 0; i < 5000; i++)
        g_assert_cmpint(pwrite(fd, data, 4096, (off_t)i * 8192), ==, 4096);
    g_assert_cmpint(ftruncate(fd, 5000 * 8192), ==, 0);
    close(fd);
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL;
    Walk walk = {.text = g_string_new(NULL), .unit = 1};
    vms_source_extents(source, 0, 5000 * 8192, on_extent, &walk, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(walk.count, ==, 10000);
    g_string_free(walk.text, TRUE);
}

/* A guest can write a qcow2 header with somebody's file behind it into its raw disk. */
static void test_format_is_not_probed(void)
{
    g_autofree char *raw = images_path("evil.raw");
    images_run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd",
               raw, "1M", NULL);
    g_autoptr(VmsServer) server = serve(raw, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL;
    uint8_t head[512];
    vms_source_read(source, 0, head, sizeof(head), &error);
    g_assert_no_error(error);
    g_assert_cmpmem(head, 4, "QFI\xfb", 4);
}

static void expect_failure(const char *path, const char *format, VmsErrorCode code,
                           const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsServer) server = vms_server_start(path, format, NULL, &error);
    g_assert_null(server);
    g_test_message("%s", error->message);
    g_assert_true(vms_error_is(error, code));
    g_assert_nonnull(strstr(error->message, words));
}

static void test_failures(void)
{
    g_autofree char *missing = images_path("missing.qcow2");
    g_autofree char *text = images_path("text.qcow2");
    g_autofree char *orphan = images_path("orphan.qcow2");
    expect_failure(missing, "qcow2", VMS_ERROR_NOT_FOUND, "missing.qcow2");
    g_assert_true(g_file_set_contents(text, "no image at all, only text", -1, NULL));
    expect_failure(text, "qcow2", VMS_ERROR_INVALID, "not in qcow2 format");
    images_run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", missing, orphan,
               "1M", NULL);
    expect_failure(orphan, "qcow2", VMS_ERROR_NOT_FOUND, "missing.qcow2");
    expect_failure(text, "nonsense", VMS_ERROR_UNSUPPORTED, "nonsense");
    expect_failure("nbd:localhost:1", "raw", VMS_ERROR_INVALID, "not absolute");
}

static void test_cancelled(void)
{
    g_autofree char *path = images_path("cancel.raw");
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "4M", NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL;
    Walk walk = {.text = g_string_new(NULL), .unit = 1};
    g_cancellable_cancel(cancellable);
    g_assert_false(vms_source_extents(source, 0, 4 * MIB, on_extent, &walk, cancellable, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_CANCELLED));
    g_string_free(walk.text, TRUE);
}

/* --- several reads at once --- */

typedef struct {
    unsigned started, done;
} Count;

static void count_done(void *user)
{
    Count *count = user;
    count->done++;
}

static bool start_read(VmsSource *source, uint64_t at, uint8_t *to, Count *count, GError **error)
{
    bool ok = vms_source_read_start(source, at, to, MIB, 4, count_done, count, error);
    count->started += ok;
    g_assert_cmpuint(count->started - count->done, <=, 4);
    return ok;
}

static void test_reads_at_once(void)
{
    g_autofree char *path = images_path("at-once.raw");
    g_autofree uint8_t *bytes = g_malloc(16 * MIB), *back = g_malloc0(16 * MIB);
    for (size_t i = 0; i < 16 * MIB; i++)
        bytes[i] = (uint8_t)(i >> 20) + 1;
    g_assert_true(g_file_set_contents(path, (char *)bytes, 16 * MIB, NULL));
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL;
    Count count = {0};
    kill(images_server_pid(), SIGSTOP); /* three go out although none is answered */
    for (uint64_t at = 16 * MIB; at > 0; at -= MIB) {
        if (at == 13 * MIB)
            kill(images_server_pid(), SIGCONT);
        g_assert_true(start_read(source, at - MIB, back + at - MIB, &count, &error));
        if (at == 8 * MIB) { /* a question between reads neither loses nor disturbs them */
            g_autofree char *all = extents(source, 0, 16 * MIB, MIB);
            g_assert_cmpstr(all, ==, "0+16");
        }
    }
    g_assert_true(vms_source_read_drain(source, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count.done, ==, 16);
    g_assert_cmpmem(bytes, 16 * MIB, back, 16 * MIB);
    g_assert_false(start_read(source, 16 * MIB, back, &count, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
}

/* A stopped server holds reads that will never be answered; then it is killed. */
static void test_server_dies_at_once(void)
{
    g_autofree char *path = images_path("dies-at-once.raw");
    g_autofree uint8_t *bytes = g_malloc(4 * MIB);
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "4M", NULL);
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL, again = NULL;
    Count count = {0};
    kill(images_server_pid(), SIGSTOP);
    for (int i = 0; i < 3; i++)
        g_assert_true(start_read(source, (uint64_t)i * MIB, bytes + i * MIB, &count, &error));
    kill(images_server_pid(), SIGKILL);
    g_assert_false(vms_source_read_drain(source, &error));
    g_test_message("%s", error->message);
    g_assert_cmpuint(count.done, ==, 0);
    g_assert_false(vms_source_read(source, 0, bytes, 512, &again));
    g_assert_nonnull(again);
}

/* --- several connections, and the life of the server --- */

static void *read_all(void *user)
{
    VmsServer *server = user;
    g_autoptr(VmsSource) source = open_source(server);
    g_autofree uint8_t *bytes = g_malloc(MIB);
    bool ok = true;
    for (uint64_t at = 0; at < 16 && ok; at++) {
        ok = vms_source_read(source, at * MIB, bytes, MIB, NULL);
        ok = ok && bytes[0] == at + 1 && bytes[MIB - 1] == at + 1;
    }
    return GINT_TO_POINTER(ok);
}

static void *start_in_thread(void *path)
{
    return serve(path, "raw");
}

/* Started by a thread that has ended since: PR_SET_PDEATHSIG must not have killed it. */
static void test_connections(void)
{
    g_autofree char *path = images_path("shared.raw");
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    g_autofree uint8_t *bytes = g_malloc(MIB);
    for (int i = 0; i < 16; i++) {
        memset(bytes, i + 1, MIB);
        g_assert_cmpint(write(fd, bytes, MIB), ==, MIB);
    }
    close(fd);
    g_autoptr(VmsServer) server = g_thread_join(g_thread_new("starter", start_in_thread, path));
    g_autoptr(VmsSource) held = open_source(server); /* the others need not wait for this one */
    GThread *readers[4];
    for (size_t i = 0; i < G_N_ELEMENTS(readers); i++)
        readers[i] = g_thread_new("reader", read_all, server);
    for (size_t i = 0; i < G_N_ELEMENTS(readers); i++)
        g_assert_true(g_thread_join(readers[i]));
}

static void test_end(void)
{
    g_autofree char *path = images_path("end.raw");
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "1M", NULL);
    VmsServer *server = serve(path, "raw");
    pid_t pid = images_server_pid();
    g_assert_cmpint(pid, >, 0);
    vms_server_free(server);
    g_assert_false(images_is_alive(pid));
}

/* qemu-nbd is killed under a reader: an error that says so, not a wait. */
static void test_server_dies(void)
{
    g_autofree char *path = images_path("dies.raw");
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "1M", NULL);
    g_autoptr(VmsServer) server = serve(path, "raw");
    g_autoptr(VmsSource) source = open_source(server);
    g_autoptr(GError) error = NULL, again = NULL;
    uint8_t bytes[512];
    kill(images_server_pid(), SIGKILL);
    g_assert_false(vms_source_read(source, 0, bytes, sizeof(bytes), &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "killed by signal 9"));
    g_assert_false(vms_source_read(source, 0, bytes, sizeof(bytes), &again));
    g_assert_nonnull(again);
}

static unsigned count_sockets(void)
{
    GDir *dir = g_dir_open("/run/vmsnap", 0, NULL);
    unsigned n = 0;
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        n += g_str_has_prefix(name, "nbd-");
    if (dir)
        g_dir_close(dir);
    return n;
}

/* P6: kill -9 leaves neither a qemu-nbd nor a socket. */
static void test_we_die(void)
{
    g_autofree char *path = images_path("we-die.raw");
    images_run("qemu-img", "create", "-q", "-f", "raw", path, "1M", NULL);
    unsigned before = count_sockets();
    int result[2];
    g_assert_cmpint(pipe(result), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        VmsServer *server = vms_server_start(path, "raw", NULL, NULL);
        pid_t nbd = server ? images_server_pid() : 0;
        ssize_t wrote = write(result[1], &nbd, sizeof(nbd));
        (void)wrote;
        pause();
        _exit(0);
    }
    pid_t nbd = 0;
    g_assert_cmpint(read(result[0], &nbd, sizeof(nbd)), ==, sizeof(nbd));
    g_assert_cmpint(nbd, >, 0);
    g_assert_true(images_is_alive(nbd));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 500 && images_is_alive(nbd); i++)
        g_usleep(10000); /* nobody tells us of a process that is not our child */
    g_assert_false(images_is_alive(nbd));
    g_assert_cmpuint(count_sockets(), ==, before);
    close(result[0]);
    close(result[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    images_setup();
    g_test_add_func("/source/raw", test_raw);
    g_test_add_func("/source/long-read", test_long_read);
    g_test_add_func("/source/chain", test_chain);
    g_test_add_func("/source/terabyte", test_terabyte);
    g_test_add_func("/source/many-extents", test_many_extents);
    g_test_add_func("/source/format-is-not-probed", test_format_is_not_probed);
    g_test_add_func("/source/failures", test_failures);
    g_test_add_func("/source/cancelled", test_cancelled);
    g_test_add_func("/source/reads-at-once", test_reads_at_once);
    g_test_add_func("/source/server-dies-at-once", test_server_dies_at_once);
    g_test_add_func("/source/connections", test_connections);
    g_test_add_func("/source/end", test_end);
    g_test_add_func("/source/server-dies", test_server_dies);
    g_test_add_func("/source/we-die", test_we_die);
    int failed = g_test_run();
    images_teardown();
    return failed;
}
