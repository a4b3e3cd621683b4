/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virt-tool DOMAIN COMMAND ARG... - one step of src/virt at a time, for test_virt.py. Prints JSON
 * or "ERROR-NAME: message", exits with vmsnap's status.
 *
 *   check none|live|cow|auto off|auto|require
 *   ping | frozen | thaw
 *   freeze HOLD_MS DEADLINE_S           freeze, wait, thaw
 *   abandon DEADLINE_S                  freeze, and free without a thaw
 *   pause HOLD_MS                       pause, wait, let it run
 *   switch OVERLAY_DIR                  all disks onto DIR/TARGET.qcow2
 *   switch-memory DIR PATH CANCEL_MS    the same with memory; cancelled after CANCEL_MS, 0: not
 *   switch-off DIR                      the same of a domain that is shut off
 *   commit TARGET BASE FORMAT OVERLAY BANDWIDTH CANCEL_MS
 *   where TARGET
 *   remove PATH DEVICE INODE */
#include "base/error.h"
#include "base/json-writer.h"
#include "virt/check.h"
#include "virt/commit.h"
#include "virt/overlay.h"
#include "virt/pause.h"
#include "virt/quiesce.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    VmsConn *conn;
    virDomainPtr domain;
    char **args; /* of the command, NULL-terminated */
    VmsJsonWriter *out;
} Tool;

static bool check(Tool *tool, GError **error)
{
    static const char *const memories[] = {"none", "live", "cow", "auto", NULL};
    static const char *const modes[] = {"off", "auto", "require", NULL};
    g_autoptr(VmsFacts) facts = vms_facts_read(tool->domain, error);
    if (!facts)
        return false;
    VmsCheckOptions options = {.memory_dir = "/var/tmp"};
    for (int i = 0; memories[i]; i++)
        if (strcmp(memories[i], tool->args[0]) == 0)
            options.memory = (VmsCheckMemory)i;
    for (int i = 0; modes[i]; i++)
        if (strcmp(modes[i], tool->args[1]) == 0)
            options.quiesce = (VmsCheckQuiesce)i;
    g_autoptr(VmsCheck) result = vms_check_run(tool->domain, facts, &options, error);
    if (!result)
        return false;
    vms_json_writer_member_bool(tool->out, "refused", result->refused);
    vms_json_writer_member_bool(tool->out, "no_space", result->no_space);
    vms_json_writer_member_string(tool->out, "engine", vms_check_engine_name(result->engine));
    vms_json_writer_member_bool(tool->out, "quiesce", result->quiesce);
    vms_json_writer_member_uint64(tool->out, "overlay_need", result->overlay_need);
    vms_json_writer_member_uint64(tool->out, "memory_need", result->memory_need);
    vms_json_writer_key(tool->out, "disks");
    vms_json_writer_begin_array(tool->out);
    for (guint i = 0; i < result->disks->len; i++)
        vms_json_writer_string(tool->out, ((VmsCheckDisk *)result->disks->pdata[i])->target);
    vms_json_writer_end_array(tool->out);
    vms_json_writer_key(tool->out, "findings");
    vms_json_writer_begin_object(tool->out);
    for (guint i = 0; i < result->findings->len; i++) {
        const VmsFinding *finding = result->findings->pdata[i];
        g_autofree char *text =
            g_strdup_printf("%s: %s%s%s; %s", vms_check_severity_name(finding->severity),
                            finding->target ? finding->target : "", finding->target ? " " : "",
                            finding->sentence, finding->remedy ? finding->remedy : "");
        vms_json_writer_member_string(tool->out, finding->code, text);
    }
    vms_json_writer_end_object(tool->out);
    return true;
}

static bool ping(Tool *tool, GError **error)
{
    return vms_quiesce_ping(tool->domain, 5, error);
}

static bool frozen(Tool *tool, GError **error)
{
    bool is_frozen = false;
    if (!vms_quiesce_is_frozen(tool->domain, 5, &is_frozen, error))
        return false;
    vms_json_writer_member_bool(tool->out, "frozen", is_frozen);
    return true;
}

static bool thaw(Tool *tool, GError **error)
{
    unsigned count = 0;
    if (!vms_quiesce_thaw_all(tool->domain, 10, &count, error))
        return false;
    vms_json_writer_member_uint64(tool->out, "filesystems", count);
    return true;
}

static bool freeze(Tool *tool, GError **error)
{
    unsigned count = 0;
    VmsFreezeEnd end = VMS_FREEZE_HELD;
    g_autoptr(VmsQuiesce) quiesce =
        vms_quiesce_freeze(tool->domain, atoi(tool->args[1]), &count, error);
    if (!quiesce)
        return false;
    puts("frozen");
    fflush(stdout);
    g_usleep((gulong)atoi(tool->args[0]) * 1000);
    if (!vms_quiesce_thaw(quiesce, &end, error))
        return false;
    vms_json_writer_member_uint64(tool->out, "filesystems", count);
    vms_json_writer_member_bool(tool->out, "expired", end == VMS_FREEZE_EXPIRED);
    return true;
}

static bool abandon(Tool *tool, GError **error)
{
    unsigned count = 0;
    g_autoptr(VmsQuiesce) quiesce =
        vms_quiesce_freeze(tool->domain, atoi(tool->args[0]), &count, error);
    return quiesce != NULL;
}

static bool remove_overlays(GPtrArray *overlays)
{
    for (guint i = 0; i < overlays->len; i++)
        vms_overlay_remove_file(overlays->pdata[i], NULL);
    return false;
}

static GPtrArray *make_overlays(const VmsFacts *facts, const char *dir, GError **error)
{
    g_autoptr(GPtrArray) overlays =
        g_ptr_array_new_with_free_func((GDestroyNotify)vms_overlay_free);
    for (guint i = 0; i < facts->disks->len; i++) {
        const VmsDisk *disk = facts->disks->pdata[i];
        if (disk->readonly)
            continue;
        g_autofree char *path = g_strdup_printf("%s/%s.qcow2", dir, disk->target);
        VmsOverlay *overlay = vms_overlay_new(disk->target, disk->source, disk->format, path);
        g_ptr_array_add(overlays, overlay);
        if (!vms_overlay_create_file(overlay, disk->capacity, NULL, error)) {
            remove_overlays(overlays);
            return NULL;
        }
    }
    return g_steal_pointer(&overlays);
}

static void print_overlays(Tool *tool, GPtrArray *overlays)
{
    vms_json_writer_key(tool->out, "overlays");
    vms_json_writer_begin_object(tool->out);
    for (guint i = 0; i < overlays->len; i++) {
        const VmsOverlay *overlay = overlays->pdata[i];
        vms_json_writer_key(tool->out, overlay->target);
        vms_json_writer_begin_array(tool->out);
        vms_json_writer_string(tool->out, overlay->base);
        vms_json_writer_string(tool->out, overlay->base_format);
        vms_json_writer_string(tool->out, overlay->overlay);
        vms_json_writer_uint64(tool->out, overlay->device);
        vms_json_writer_uint64(tool->out, overlay->inode);
        vms_json_writer_end_array(tool->out);
    }
    vms_json_writer_end_object(tool->out);
}

typedef struct {
    virDomainPtr domain;
    GCancellable *cancellable;
    int after_ms;
    const char *memory_path;
    int under_way; /* atomic */
} Canceller;

static void *cancel_later(void *data)
{
    Canceller *canceller = data;
    g_usleep((gulong)canceller->after_ms * 1000);
    if (canceller->cancellable)
        g_cancellable_cancel(canceller->cancellable);
    else
        vms_overlay_cancel(canceller->domain, canceller->memory_path, &canceller->under_way);
    return NULL;
}

static bool with_memory(Tool *tool, const VmsFacts *facts, GPtrArray *overlays, GError **error)
{
    Canceller canceller = {.domain = tool->domain,
                           .after_ms = atoi(tool->args[2]),
                           .memory_path = tool->args[1],
                           .under_way = true};
    GThread *thread = canceller.after_ms ? g_thread_new("cancel", cancel_later, &canceller) : NULL;
    bool outrun = false;
    bool ok = vms_overlay_switch_with_memory(tool->domain, facts, overlays, tool->args[1], &outrun,
                                             error);
    g_atomic_int_set(&canceller.under_way, false);
    vms_json_writer_member_bool(tool->out, "outrun", outrun);
    if (thread)
        g_thread_join(thread);
    return ok;
}

static bool switch_by(Tool *tool, bool memory, bool off, GError **error)
{
    g_autoptr(VmsFacts) facts = vms_facts_read(tool->domain, error);
    g_autoptr(GPtrArray) overlays = facts ? make_overlays(facts, tool->args[0], error) : NULL;
    if (!overlays)
        return false;
    int64_t start = g_get_monotonic_time();
    bool ok;
    if (memory)
        ok = with_memory(tool, facts, overlays, error);
    else if (off)
        ok = vms_overlay_switch_offline(vms_conn_get(tool->conn), facts, overlays, error);
    else
        ok = vms_overlay_switch(tool->domain, facts, overlays, error);
    if (!ok)
        return remove_overlays(overlays);
    vms_json_writer_member_uint64(tool->out, "us", (uint64_t)(g_get_monotonic_time() - start));
    print_overlays(tool, overlays);
    return true;
}

static bool switch_disks(Tool *tool, GError **error)
{
    return switch_by(tool, false, false, error);
}

static bool switch_memory(Tool *tool, GError **error)
{
    return switch_by(tool, true, false, error);
}

static bool switch_off(Tool *tool, GError **error)
{
    return switch_by(tool, false, true, error);
}

static void show_update(VmsProgress *progress, const VmsProgressState *state)
{
}

static void show_message(VmsProgress *progress, const char *text)
{
    printf("message: %s\n", text);
    fflush(stdout);
}

static bool commit(Tool *tool, GError **error)
{
    char **args = tool->args;
    VmsProgress progress = {.update = show_update, .message = show_message};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(VmsOverlay) overlay = vms_overlay_new(args[0], args[1], args[2], args[3]);
    Canceller canceller = {.cancellable = cancellable, .after_ms = atoi(args[5])};
    if (canceller.after_ms)
        g_thread_unref(g_thread_new("cancel", cancel_later, &canceller));
    VmsCommitOptions options = {
        .bandwidth = g_ascii_strtoull(args[4], NULL, 10),
        .patience_s = 60,
        .progress = &progress,
        .cancellable = cancellable,
    };
    return vms_commit_disk(tool->domain, overlay, &options, error);
}

static bool hold(Tool *tool, GError **error)
{
    VmsPause *pause = vms_pause_new(tool->domain, error);
    if (!pause)
        return false;
    printf("paused\n");
    fflush(stdout);
    g_usleep((gulong)g_ascii_strtoull(tool->args[0], NULL, 10) * 1000);
    return vms_pause_end(pause, error);
}

static bool where(Tool *tool, GError **error)
{
    g_autofree char *live = NULL, *persistent = NULL;
    if (!vms_overlay_where(tool->domain, tool->args[0], &live, &persistent, error))
        return false;
    vms_json_writer_member_string(tool->out, "live", live);
    vms_json_writer_member_string(tool->out, "persistent", persistent);
    return true;
}

static bool remove_file(Tool *tool, GError **error)
{
    g_autoptr(VmsOverlay) overlay = vms_overlay_new("", "", "", tool->args[0]);
    overlay->device = (dev_t)g_ascii_strtoull(tool->args[1], NULL, 10);
    overlay->inode = (ino_t)g_ascii_strtoull(tool->args[2], NULL, 10);
    return vms_overlay_remove_file(overlay, error);
}

static const struct {
    const char *name;
    unsigned args;
    bool (*run)(Tool *tool, GError **error);
} commands[] = {
    {"abandon", 1, abandon},
    {"check", 2, check},
    {"commit", 6, commit},
    {"freeze", 2, freeze},
    {"frozen", 0, frozen},
    {"ping", 0, ping},
    {"pause", 1, hold},
    {"remove", 3, remove_file},
    {"switch", 1, switch_disks},
    {"switch-memory", 3, switch_memory},
    {"switch-off", 1, switch_off},
    {"thaw", 0, thaw},
    {"where", 1, where},
};

static bool run(int argc, char **argv, VmsJsonWriter *out, GError **error)
{
    g_autoptr(VmsConn) conn = vms_conn_open(NULL, error);
    g_autoptr(virDomain) domain = conn ? vms_conn_lookup(conn, argv[1], error) : NULL;
    if (!domain)
        return false;
    Tool tool = {.conn = conn, .domain = domain, .args = argv + 3, .out = out};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(commands[i].name, argv[2]) == 0 && commands[i].args == (unsigned)argc - 3)
            return commands[i].run(&tool, error);
    return vms_fail(error, VMS_ERROR_USAGE, "no such command: %s with %d arguments", argv[2],
                    argc - 3);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (argc < 3)
        return 2;
    VmsJsonWriter *out = vms_json_writer_new(false);
    vms_json_writer_begin_object(out);
    bool ok = run(argc, argv, out, &error);
    vms_json_writer_end_object(out);
    g_autofree char *text = vms_json_writer_finish(out);
    vms_json_writer_free(out);
    if (ok)
        printf("%s\n", text);
    else
        printf("%s: %s\n", vms_error_name(error), error->message);
    return vms_error_exit_status(error);
}
