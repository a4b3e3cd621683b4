/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt does not know background-snapshot and never resets it; left on, QEMU refuses multifd,
 * post-copy and auto-converge to whoever migrates the domain next. */
#include "virt/cow-setup.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/cow.h"
#include "virt/guard.h"
#include "virt/qmp.h"

#define BACKGROUND "background-snapshot"

/* QEMU refuses background-snapshot together with these; mapped-ram it accepts, and writes an image
 * that cannot be restored. */
static const char *const incompatible[] = {
    "auto-converge",
    "compress",
    "dirty-bitmaps",
    "late-block-activate",
    "mapped-ram",
    "multifd",
    "pause-before-switchover",
    "postcopy-preempt",
    "postcopy-ram",
    "rdma-pin-all",
    "release-ram",
    "return-path",
    "switchover-ack",
    "validate-uuid",
    "x-colo",
    "x-ignore-shared", /* would leave shared memory out of the image */
    "xbzrle",
    "zero-copy-send",
    NULL,
};

struct VmsCowSetup {
    bool on;
    char **found;   /* capabilities that were on; NULL where unknown */
    GPtrArray *off; /* of char*: capabilities that were on */
    VmsGuard *guard;
};

#define CLOSE_FD "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"" VMS_COW_FD_NAME "\"}}"

static VmsGuard *guard(virDomainPtr domain, const GPtrArray *off)
{
    g_autoptr(GPtrArray) commands = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(commands, g_strdup("{\"execute\":\"migrate_cancel\"}"));
    g_ptr_array_add(commands, g_strdup("-" CLOSE_FD));
    g_ptr_array_add(commands, vms_qmp_capability_command(BACKGROUND, false));
    for (guint i = 0; i < off->len; i++)
        g_ptr_array_add(commands, vms_qmp_capability_command(off->pdata[i], true));
    g_ptr_array_add(commands, NULL);
    return vms_guard_new(domain, (const char *const *)commands->pdata);
}

static bool set_up(VmsCowSetup *setup, virDomainPtr domain, GError **error)
{
    setup->found = vms_qmp_capabilities(domain, error);
    if (!setup->found)
        return false;
    for (char **name = setup->found; *name; name++)
        if (g_strv_contains(incompatible, *name))
            g_ptr_array_add(setup->off, g_strdup(*name));
    setup->guard = guard(domain, setup->off);
    setup->on = true;
    vms_failpoint("cow.guarded");
    for (guint i = 0; i < setup->off->len; i++) {
        if (!vms_qmp_set_capability(domain, setup->off->pdata[i], false, error))
            return false;
        vms_failpoint("cow.capability-off");
    }
    bool ok = vms_qmp_set_capability(domain, BACKGROUND, true, error);
    vms_failpoint("cow.background-on");
    return ok;
}

static bool has_found(virDomainPtr domain, const char *const *before)
{
    g_auto(GStrv) now = vms_qmp_capabilities(domain, NULL);
    return now && g_strv_equal((const char *const *)now, before);
}

bool vms_cow_setup_unchanged(virDomainPtr domain, const char *const *before)
{
    g_auto(VmsMigration) migration = {0};
    return has_found(domain, before) && vms_qmp_migration(domain, &migration, NULL) &&
           migration.state != VMS_MIGRATION_RUNNING;
}

VmsCowSetup *vms_cow_setup_new(virDomainPtr domain, GError **error)
{
    g_autoptr(VmsCowSetup) setup = g_new0(VmsCowSetup, 1);
    setup->off = g_ptr_array_new_with_free_func(g_free);
    if (set_up(setup, domain, error))
        return g_steal_pointer(&setup);
    vms_prefix(error, "copy-on-write memory");
    /* While somebody else migrates the domain, QEMU lets nobody change a capability, not even back;
     * the guard would cancel that migration. */
    if (!vms_cow_setup_undo(setup, domain, NULL) &&
        has_found(domain, (const char *const *)setup->found))
        vms_guard_dismiss(g_steal_pointer(&setup->guard));
    return NULL;
}

bool vms_cow_setup_undo(VmsCowSetup *setup, virDomainPtr domain, GError **error)
{
    if (!setup->on)
        return true;
    vms_qmp_run(domain, CLOSE_FD, -1, NULL, NULL); /* taken over by the migration, where it began */
    if (!vms_qmp_set_capability(domain, BACKGROUND, false, error))
        return false;
    vms_failpoint("cow.background-off");
    for (guint i = 0; i < setup->off->len; i++)
        if (!vms_qmp_set_capability(domain, setup->off->pdata[i], true, error))
            return false;
    vms_failpoint("cow.capabilities-back");
    setup->on = false;
    vms_guard_dismiss(g_steal_pointer(&setup->guard));
    return true;
}

bool vms_cow_clean(virDomainPtr domain, GError **error)
{
    g_auto(GStrv) on = vms_qmp_capabilities(domain, error);
    if (!on)
        return false;
    if (!g_strv_contains((const char *const *)on, BACKGROUND))
        return true;
    g_autoptr(VmsCowSetup) setup = g_new0(VmsCowSetup, 1);
    setup->off = g_ptr_array_new();
    setup->on = true;
    return vms_cow_cancel(domain, error) && vms_cow_setup_undo(setup, domain, error);
}

void vms_cow_setup_free(VmsCowSetup *setup)
{
    if (!setup)
        return;
    vms_guard_release(setup->guard);
    g_ptr_array_unref(setup->off);
    g_strfreev(setup->found);
    g_free(setup);
}
