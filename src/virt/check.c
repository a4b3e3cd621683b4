/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/check.h"

#include "base/error.h"
#include "virt/check-private.h"

#include <stdarg.h>

static void finding_free(void *data)
{
    VmsFinding *finding = data;
    g_free(finding->target);
    g_free(finding->sentence);
    g_free(finding->remedy);
    g_free(finding);
}

static void disk_free(void *data)
{
    VmsCheckDisk *disk = data;
    g_free(disk->target);
    g_free(disk->base);
    g_free(disk->base_format);
    g_free(disk->overlay_dir);
    g_free(disk);
}

void vms_check_free(VmsCheck *check)
{
    if (!check)
        return;
    g_ptr_array_unref(check->findings);
    g_ptr_array_unref(check->disks);
    g_free(check);
}

void vms_check_add(const VmsChecking *c, VmsFindingSeverity severity, const char *code,
                   const char *target, const char *remedy, const char *format, ...)
{
    VmsFinding *finding = g_new0(VmsFinding, 1);
    finding->code = code;
    finding->severity = severity;
    finding->target = g_strdup(target);
    finding->remedy = g_strdup(remedy);
    va_list args;
    va_start(args, format);
    finding->sentence = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(c->check->findings, finding);
}

static bool is_about_space(const VmsFinding *finding)
{
    return g_str_has_prefix(finding->code, "no-space-");
}

/* Refusals first, else in the order of finding. */
static void sort_findings(VmsCheck *check)
{
    GPtrArray *sorted = g_ptr_array_new_with_free_func(finding_free);
    for (int severity = VMS_FINDING_REFUSAL; severity >= VMS_FINDING_INFO; severity--)
        for (guint i = 0; i < check->findings->len; i++) {
            VmsFinding *finding = check->findings->pdata[i];
            if ((int)finding->severity == severity)
                g_ptr_array_add(sorted, finding);
        }
    g_ptr_array_set_free_func(check->findings, NULL);
    g_ptr_array_unref(check->findings);
    check->findings = sorted;
}

static void sum_up(VmsCheck *check)
{
    sort_findings(check);
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        if (finding->severity != VMS_FINDING_REFUSAL)
            break;
        check->no_space = is_about_space(finding) && (check->no_space || !check->refused);
        check->refused = true;
    }
}

VmsCheck *vms_check_run(virDomainPtr domain, const VmsFacts *facts, const VmsCheckOptions *options,
                        GError **error)
{
    g_autoptr(VmsCheck) check = g_new0(VmsCheck, 1);
    check->findings = g_ptr_array_new_with_free_func(finding_free);
    check->disks = g_ptr_array_new_with_free_func(disk_free);
    VmsChecking c = {.domain = domain, .facts = facts, .options = options, .check = check};
    vms_check_state(&c);
    vms_check_memory(&c);
    if (!vms_check_disks(&c, error))
        return NULL;
    vms_check_quiesce(&c);
    vms_check_space(&c);
    sum_up(check);
    return g_steal_pointer(&check);
}

const char *vms_check_engine_name(VmsCheckEngine engine)
{
    static const char *const names[] = {
        [VMS_CHECK_ENGINE_NONE] = "none",
        [VMS_CHECK_ENGINE_LIVE] = "live",
        [VMS_CHECK_ENGINE_COW] = "cow",
    };
    return names[engine];
}

const char *vms_check_severity_name(VmsFindingSeverity severity)
{
    static const char *const names[] = {
        [VMS_FINDING_INFO] = "info",
        [VMS_FINDING_WARNING] = "warning",
        [VMS_FINDING_REFUSAL] = "refusal",
    };
    return names[severity];
}

const VmsFinding *vms_check_find(const VmsCheck *check, const char *code)
{
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        if (g_strcmp0(finding->code, code) == 0)
            return finding;
    }
    return NULL;
}

bool vms_check_fail(const VmsCheck *check, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < check->findings->len; i++) {
        const VmsFinding *finding = check->findings->pdata[i];
        if (finding->severity != VMS_FINDING_REFUSAL)
            continue;
        if (text->len)
            g_string_append(text, ". ");
        if (finding->target)
            g_string_append_printf(text, "disk %s: ", finding->target);
        g_string_append(text, finding->sentence);
        if (finding->remedy)
            g_string_append_printf(text, "; %s", finding->remedy);
    }
    return vms_fail(error, check->no_space ? VMS_ERROR_NO_SPACE : VMS_ERROR_REFUSED, "%s",
                    text->str);
}
