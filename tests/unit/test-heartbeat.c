/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which gap is counted for what, to the microsecond, and then the same on a real socket, where only
 * the least that a gap must be can be asserted: this machine may always be slow. */
#include "virt/facts-xml.h"
#include "virt/heartbeat-tally.h"
#include "virt/heartbeat.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MS 1000

/* --- arithmetic --- */

typedef struct {
    VmsHeartbeatTally tally;
    int64_t now;
} Time;

static void start(Time *time)
{
    vms_heartbeat_tally_init(&time->tally);
    time->now = 1000 * MS;
}

static void beat_after(Time *time, int64_t us)
{
    time->now += us;
    vms_heartbeat_tally_arrival(&time->tally, time->now);
}

static void mark_after(Time *time, int64_t us, VmsHeartbeatPhase phase)
{
    time->now += us;
    vms_heartbeat_tally_mark(&time->tally, phase, time->now);
}

static VmsHeartbeatGaps gaps(const Time *time)
{
    VmsHeartbeatGaps gaps = {0};
    g_assert_true(vms_heartbeat_tally_gaps(&time->tally, time->now, &gaps));
    return gaps;
}

static void test_phases(void)
{
    Time time;
    start(&time);
    beat_after(&time, 0);
    beat_after(&time, 5 * MS);
    beat_after(&time, 9 * MS); /* baseline */
    mark_after(&time, 2 * MS, VMS_HEARTBEAT_PAUSE);
    mark_after(&time, 40 * MS, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 3 * MS); /* the pause: from the beat before to the beat after */
    beat_after(&time, 7 * MS);
    beat_after(&time, 21 * MS);
    beat_after(&time, 6 * MS);
    mark_after(&time, 1 * MS, VMS_HEARTBEAT_DONE);
    beat_after(&time, 900 * MS); /* nobody's */
    beat_after(&time, 900 * MS);
    VmsHeartbeatGaps found = gaps(&time);
    g_assert_cmpuint(found.beats, ==, 7);
    g_assert_cmpint(found.baseline_us, ==, 9 * MS);
    g_assert_cmpint(found.pause_us, ==, 45 * MS);
    g_assert_cmpint(found.write_us, ==, 21 * MS);
}

/* Beats that come while the guest is being suspended cut the gap, they do not move it elsewhere. */
static void test_beats_in_the_pause(void)
{
    Time time;
    start(&time);
    beat_after(&time, 0);
    mark_after(&time, 50 * MS, VMS_HEARTBEAT_PAUSE);
    beat_after(&time, 10 * MS); /* 60 */
    beat_after(&time, 30 * MS);
    mark_after(&time, 4 * MS, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 66 * MS); /* 70 */
    beat_after(&time, 8 * MS);
    VmsHeartbeatGaps found = gaps(&time);
    g_assert_cmpint(found.baseline_us, ==, -1);
    g_assert_cmpint(found.pause_us, ==, 70 * MS);
    g_assert_cmpint(found.write_us, ==, 8 * MS);
}

static void test_silence_that_lasts(void)
{
    Time time;
    start(&time);
    beat_after(&time, 0);
    mark_after(&time, 5 * MS, VMS_HEARTBEAT_PAUSE);
    time.now += 100 * MS;
    g_assert_cmpint(gaps(&time).pause_us, ==, 105 * MS);
    mark_after(&time, 0, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 1 * MS);
    time.now += 200 * MS;
    g_assert_cmpint(gaps(&time).write_us, ==, 200 * MS);
    mark_after(&time, 50 * MS, VMS_HEARTBEAT_DONE);
    time.now += 1000 * MS;
    g_assert_cmpint(gaps(&time).pause_us, ==, 106 * MS);
    g_assert_cmpint(gaps(&time).write_us, ==, 250 * MS);
    /* its QEMU has ended: what it did not say any more is not counted */
    VmsHeartbeatGaps found;
    g_assert_true(vms_heartbeat_tally_gaps(&time.tally, 0, &found));
    g_assert_cmpint(found.write_us, ==, -1);
}

/* A whole snapshot within one silence, as of a guest that hangs. */
static void test_one_gap_over_all(void)
{
    Time time;
    start(&time);
    beat_after(&time, 0);
    mark_after(&time, 10 * MS, VMS_HEARTBEAT_PAUSE);
    mark_after(&time, 20 * MS, VMS_HEARTBEAT_WRITE);
    mark_after(&time, 30 * MS, VMS_HEARTBEAT_DONE);
    beat_after(&time, 40 * MS);
    g_assert_cmpint(gaps(&time).pause_us, ==, 60 * MS);
    g_assert_cmpint(gaps(&time).write_us, ==, -1);
}

static void test_no_beat_before_the_pause(void)
{
    Time time;
    VmsHeartbeatGaps found;
    start(&time);
    g_assert_false(vms_heartbeat_tally_gaps(&time.tally, time.now, &found));
    mark_after(&time, 10 * MS, VMS_HEARTBEAT_PAUSE);
    beat_after(&time, 10 * MS);
    mark_after(&time, 10 * MS, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 10 * MS);
    beat_after(&time, 10 * MS);
    g_assert_false(vms_heartbeat_tally_gaps(&time.tally, time.now, &found));
}

static void test_marks_go_forward(void)
{
    Time time;
    start(&time);
    beat_after(&time, 0);
    mark_after(&time, 5 * MS, VMS_HEARTBEAT_PAUSE);
    mark_after(&time, 5 * MS, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 1 * MS);
    mark_after(&time, 5 * MS, VMS_HEARTBEAT_PAUSE);
    mark_after(&time, 5 * MS, VMS_HEARTBEAT_WRITE);
    beat_after(&time, 5 * MS);
    g_assert_cmpint(gaps(&time).pause_us, ==, 11 * MS);
    g_assert_cmpint(gaps(&time).write_us, ==, 15 * MS);
}

/* --- a socket, as QEMU's --- */

typedef struct {
    char *folder, *path;
    int listener;
    VmsFacts *facts;
} Port;

static void port_open(Port *port, gconstpointer unused)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    port->folder = g_dir_make_tmp("heartbeat-XXXXXX", NULL);
    port->path = g_build_filename(port->folder, "socket", NULL);
    port->facts = vms_facts_new();
    port->facts->heartbeat_socket = g_strdup(port->path);
    port->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpuint(strlen(port->path), <, sizeof address.sun_path);
    strcpy(address.sun_path, port->path);
    g_assert_cmpint(bind(port->listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(port->listener, 1), ==, 0);
}

static void port_close(Port *port, gconstpointer unused)
{
    if (port->listener >= 0)
        close(port->listener);
    g_unlink(port->path);
    g_rmdir(port->folder);
    g_free(port->path);
    g_free(port->folder);
    vms_facts_free(port->facts);
}

/* Each is sent when the one before was heard, so that what lies between two is a gap. */
static void beat(int fd, VmsHeartbeat *heartbeat, unsigned times)
{
    VmsHeartbeatGaps found = {0};
    vms_heartbeat_gaps(heartbeat, &found);
    for (unsigned i = 0; i < times; i++) {
        uint64_t before = found.beats;
        g_usleep(2 * MS);
        g_assert_cmpint(write(fd, "beat\n", 5), ==, 5);
        do {
            g_usleep(MS / 2);
            vms_heartbeat_gaps(heartbeat, &found);
        } while (found.beats <= before);
    }
}

static void test_socket(Port *port, gconstpointer unused)
{
    g_autoptr(VmsHeartbeat) heartbeat = vms_heartbeat_open(port->facts);
    VmsHeartbeatGaps found;
    g_assert_nonnull(heartbeat);
    int fd = accept(port->listener, NULL, NULL);
    g_assert_false(vms_heartbeat_gaps(heartbeat, &found));
    beat(fd, heartbeat, 3);
    g_assert_true(vms_heartbeat_gaps(heartbeat, &found));
    g_assert_cmpint(found.baseline_us, >=, 2 * MS);
    g_assert_cmpint(found.pause_us, ==, -1);
    g_assert_cmpint(found.write_us, ==, -1);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_PAUSE);
    g_usleep(30 * MS);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_WRITE);
    beat(fd, heartbeat, 3);
    g_usleep(20 * MS);
    beat(fd, heartbeat, 2);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_DONE);
    g_assert_true(vms_heartbeat_gaps(heartbeat, &found));
    g_assert_cmpint(found.pause_us, >=, 30 * MS);
    g_assert_cmpint(found.write_us, >=, 20 * MS);
    g_assert_cmpuint(found.beats, ==, 8);
    close(fd);
}

static void test_somebody_else_listens(Port *port, gconstpointer unused)
{
    VmsHeartbeat *other = vms_heartbeat_open(port->facts);
    int fd = accept(port->listener, NULL, NULL);
    g_assert_null(vms_heartbeat_open(port->facts));
    vms_heartbeat_free(other);
    close(fd);
    VmsHeartbeat *again = vms_heartbeat_open(port->facts);
    g_assert_nonnull(again);
    vms_heartbeat_free(again);
}

/* It is in the queue, and never served. */
static void test_never_served(Port *port, gconstpointer unused)
{
    g_autoptr(VmsHeartbeat) heartbeat = vms_heartbeat_open(port->facts);
    VmsHeartbeatGaps found;
    g_assert_nonnull(heartbeat);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_PAUSE);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_WRITE);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_DONE);
    g_assert_false(vms_heartbeat_gaps(heartbeat, &found));
}

/* A full queue: connect() would wait for its turn for ever. */
static void test_queue_is_full(Port *port, gconstpointer unused)
{
    VmsHeartbeat *waiting[8];
    unsigned refused = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        waiting[i] = vms_heartbeat_open(port->facts);
        refused += !waiting[i];
    }
    g_assert_cmpuint(refused, >, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++)
        vms_heartbeat_free(waiting[i]);
}

static void test_qemu_ends(Port *port, gconstpointer unused)
{
    g_autoptr(VmsHeartbeat) heartbeat = vms_heartbeat_open(port->facts);
    VmsHeartbeatGaps found;
    int fd = accept(port->listener, NULL, NULL);
    beat(fd, heartbeat, 2);
    vms_heartbeat_mark(heartbeat, VMS_HEARTBEAT_PAUSE);
    close(fd);
    /* until that is known, it looks like a silence */
    do {
        g_usleep(2 * MS);
        g_assert_true(vms_heartbeat_gaps(heartbeat, &found));
    } while (found.pause_us >= 0);
}

static void test_nobody_there(Port *port, gconstpointer unused)
{
    VmsHeartbeatGaps found;
    close(port->listener);
    port->listener = -1;
    g_assert_null(vms_heartbeat_open(port->facts)); /* refused */
    g_unlink(port->path);
    g_assert_null(vms_heartbeat_open(port->facts)); /* no such file */
    g_free(port->facts->heartbeat_socket);
    port->facts->heartbeat_socket = g_strnfill(200, 'x');
    g_assert_null(vms_heartbeat_open(port->facts));
    g_clear_pointer(&port->facts->heartbeat_socket, g_free);
    g_assert_null(vms_heartbeat_open(port->facts));
    vms_heartbeat_mark(NULL, VMS_HEARTBEAT_PAUSE);
    g_assert_false(vms_heartbeat_gaps(NULL, &found));
    vms_heartbeat_free(NULL);
}

/* More than it wants to read must not make it wait, nor its end. */
static void test_flood(Port *port, gconstpointer unused)
{
    g_autoptr(VmsHeartbeat) heartbeat = vms_heartbeat_open(port->facts);
    g_autofree char *much = g_strnfill(4 << 20, 'x');
    int fd = accept(port->listener, NULL, NULL);
    VmsHeartbeatGaps found;
    for (size_t at = 0; at < 4 << 20;) {
        ssize_t len = write(fd, much + at, (4 << 20) - at);
        g_assert_cmpint(len, >, 0);
        at += (size_t)len;
    }
    g_assert_true(vms_heartbeat_gaps(heartbeat, &found));
    close(fd);
}

/* --- where it is --- */

static void test_facts(void)
{
    static const struct {
        const char *channel, *path;
    } cases[] = {
        {"<channel type='unix'><source mode='bind' path='/run/a'/>"
         "<target type='virtio' name='org.vmsnap.heartbeat.0' state='connected'/></channel>",
         "/run/a"},
        {"<channel type='unix'><source mode='bind' path='/run/agent'/>"
         "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
         "<channel type='unix'><source mode='bind' path='/run/b'/>"
         "<target type='virtio' name='org.vmsnap.heartbeat.0'/></channel>",
         "/run/b"},
        {"<channel type='unix'><source mode='connect' path='/run/a'/>"
         "<target type='virtio' name='org.vmsnap.heartbeat.0'/></channel>",
         NULL},
        {"<channel type='file'><source path='/run/a'/>"
         "<target type='virtio' name='org.vmsnap.heartbeat.0'/></channel>",
         NULL},
        {"<channel type='unix'>" /* shut off: libvirt has not named it yet */
         "<target type='virtio' name='org.vmsnap.heartbeat.0'/></channel>",
         NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(VmsFacts) facts = vms_facts_new();
        g_autoptr(GError) error = NULL;
        facts->xml = g_strdup_printf("<domain><name>a</name><uuid>b</uuid>"
                                     "<devices>%s</devices></domain>",
                                     cases[i].channel);
        vms_facts_parse(facts, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(facts->heartbeat_socket, ==, cases[i].path);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/heartbeat/phases", test_phases);
    g_test_add_func("/heartbeat/beats-in-the-pause", test_beats_in_the_pause);
    g_test_add_func("/heartbeat/silence-that-lasts", test_silence_that_lasts);
    g_test_add_func("/heartbeat/one-gap-over-all", test_one_gap_over_all);
    g_test_add_func("/heartbeat/no-beat-before-the-pause", test_no_beat_before_the_pause);
    g_test_add_func("/heartbeat/marks-go-forward", test_marks_go_forward);
    g_test_add("/heartbeat/socket", Port, NULL, port_open, test_socket, port_close);
    g_test_add("/heartbeat/somebody-else-listens", Port, NULL, port_open,
               test_somebody_else_listens, port_close);
    g_test_add("/heartbeat/never-served", Port, NULL, port_open, test_never_served, port_close);
    g_test_add("/heartbeat/queue-is-full", Port, NULL, port_open, test_queue_is_full, port_close);
    g_test_add("/heartbeat/qemu-ends", Port, NULL, port_open, test_qemu_ends, port_close);
    g_test_add("/heartbeat/nobody-there", Port, NULL, port_open, test_nobody_there, port_close);
    g_test_add("/heartbeat/flood", Port, NULL, port_open, test_flood, port_close);
    g_test_add_func("/heartbeat/facts", test_facts);
    return g_test_run();
}
