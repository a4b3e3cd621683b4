/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/qmp.h"

#include "base/error.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include <stdlib.h>
#include <string.h>

/* {"error":{"class":"GenericError","desc":"…"}} */
static bool check_reply(VmsJson *reply, GError **error)
{
    VmsJson *refusal;
    const char *text;
    if (!vms_json_has(reply, "error"))
        return true;
    if (!vms_json_object(reply, "error", &refusal, error) ||
        !vms_json_string(refusal, "desc", &text, error))
        return false;
    return vms_fail(error, VMS_ERROR_FAILED, "QEMU says: %s", text);
}

static char *send_command(virDomainPtr domain, const char *command, int fd, GError **error)
{
    char *reply = NULL;
    if (fd < 0) {
        if (virDomainQemuMonitorCommand(domain, command, &reply, 0) < 0)
            vms_virt_fail(error, "QEMU's monitor");
        return reply;
    }
    if (virDomainQemuMonitorCommandWithFiles(domain, command, 1, &fd, NULL, NULL, &reply, 0) < 0) {
        if (virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ||
            virGetLastErrorCode() == VIR_ERR_ARGUMENT_UNSUPPORTED)
            vms_fail(error, VMS_ERROR_UNSUPPORTED,
                     "no file can be passed to QEMU over this connection to libvirt; it must be "
                     "that of this host");
        else
            vms_virt_fail(error, "QEMU's monitor");
    }
    return reply;
}

bool vms_qmp_run(virDomainPtr domain, const char *command, int fd, VmsJson **ret_reply,
                 GError **error)
{
    char *text = send_command(domain, command, fd, error);
    if (!text)
        return false;
    g_autoptr(VmsJson) reply = vms_json_parse(text, strlen(text), error);
    free(text);
    if (!reply || !check_reply(reply, error))
        return false;
    if (ret_reply)
        *ret_reply = g_steal_pointer(&reply);
    return true;
}

bool vms_qmp_give_fd(virDomainPtr domain, const char *name, int fd, GError **error)
{
    g_autofree char *command =
        g_strdup_printf("{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"%s\"}}", name);
    return vms_qmp_run(domain, command, fd, NULL, error);
}

static VmsMigrationState parse_state(const char *status)
{
    if (g_str_equal(status, "none"))
        return VMS_MIGRATION_NONE;
    if (g_str_equal(status, "completed"))
        return VMS_MIGRATION_COMPLETED;
    if (g_str_equal(status, "failed"))
        return VMS_MIGRATION_FAILED;
    if (g_str_equal(status, "cancelled"))
        return VMS_MIGRATION_CANCELLED;
    return VMS_MIGRATION_RUNNING;
}

static bool parse_ram(VmsJson *info, VmsMigration *migration, GError **error)
{
    VmsJson *ram;
    uint64_t normal, zero, page = 4096;
    if (!vms_json_has(info, "ram"))
        return true;
    if (!vms_json_object(info, "ram", &ram, error) ||
        !vms_json_uint64(ram, "normal", &normal, error) ||
        !vms_json_uint64(ram, "duplicate", &zero, error) ||
        !vms_json_uint64(ram, "total", &migration->bytes_total, error) ||
        (vms_json_has(ram, "page-size") && !vms_json_uint64(ram, "page-size", &page, error)))
        return false;
    migration->pages = normal + zero;
    migration->bytes_done = MIN(migration->pages * page, migration->bytes_total);
    return true;
}

bool vms_qmp_migration(virDomainPtr domain, VmsMigration *ret_migration, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *info;
    const char *text;
    g_auto(VmsMigration) migration = {.state = VMS_MIGRATION_NONE};
    if (!vms_qmp_run(domain, "{\"execute\":\"query-migrate\"}", -1, &reply, error) ||
        !vms_json_object(reply, "return", &info, error) || !parse_ram(info, &migration, error))
        return false;
    if (vms_json_has(info, "status")) {
        if (!vms_json_string(info, "status", &text, error))
            return false;
        migration.state = parse_state(text);
    }
    if (vms_json_has(info, "error-desc")) {
        if (!vms_json_string(info, "error-desc", &text, error))
            return false;
        migration.reason = g_strdup(text);
    }
    *ret_migration = migration;
    migration = (VmsMigration){0};
    return true;
}

void vms_qmp_migration_clear(VmsMigration *migration)
{
    g_clear_pointer(&migration->reason, g_free);
}

bool vms_qmp_migrate_cancel(virDomainPtr domain, GError **error)
{
    return vms_qmp_run(domain, "{\"execute\":\"migrate_cancel\"}", -1, NULL, error);
}

char **vms_qmp_capabilities(virDomainPtr domain, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *list, *entry;
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    if (!vms_qmp_run(domain, "{\"execute\":\"query-migrate-capabilities\"}", -1, &reply, error) ||
        !vms_json_array(reply, "return", &list, error))
        return NULL;
    for (size_t i = 0; i < vms_json_length(list); i++) {
        const char *name;
        bool on;
        if (!vms_json_element_object(list, i, &entry, error) ||
            !vms_json_string(entry, "capability", &name, error) ||
            !vms_json_bool(entry, "state", &on, error))
            return NULL;
        if (on)
            g_strv_builder_add(names, name);
    }
    return g_strv_builder_end(names);
}

char *vms_qmp_capability_command(const char *name, bool on)
{
    return g_strdup_printf("{\"execute\":\"migrate-set-capabilities\",\"arguments\":"
                           "{\"capabilities\":[{\"capability\":\"%s\",\"state\":%s}]}}",
                           name, on ? "true" : "false");
}

bool vms_qmp_set_capability(virDomainPtr domain, const char *name, bool on, GError **error)
{
    g_autofree char *command = vms_qmp_capability_command(name, on);
    return vms_qmp_run(domain, command, -1, NULL, error);
}

bool vms_qmp_is_stopped(virDomainPtr domain, bool *ret_stopped, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *info;
    bool running;
    if (!vms_qmp_run(domain, "{\"execute\":\"query-status\"}", -1, &reply, error) ||
        !vms_json_object(reply, "return", &info, error) ||
        !vms_json_bool(info, "running", &running, error))
        return false;
    *ret_stopped = !running;
    return true;
}

bool vms_qmp_is_paused(virDomainPtr domain, bool *ret_paused, GError **error)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *info;
    const char *status;
    if (!vms_qmp_run(domain, "{\"execute\":\"query-status\"}", -1, &reply, error) ||
        !vms_json_object(reply, "return", &info, error) ||
        !vms_json_string(info, "status", &status, error))
        return false;
    *ret_paused = g_str_equal(status, "paused");
    return true;
}
