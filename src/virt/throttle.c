/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt replaces total, read and write of a kind together, so all six are always given. A limit
 * on the total excludes one on writes; where there is one, it is lowered. Bursts stay as they are:
 * they may not be below what they belong to, and that only sinks. */
#include "virt/throttle.h"

#include "base/error.h"
#include "virt/overlay.h"

#include <string.h>

#define PIECE 65536 /* bytes that QEMU copies for a write, however small it is */

static const char *const names[] = {
    VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC,
    VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC, VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC,
    VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC,   VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC,
};
enum { BYTES = 0, IOPS = 3, FIELDS = 6 };

typedef struct {
    unsigned long long values[FIELDS]; /* by names; 0: no limit */
} Limits;

typedef struct {
    Limits before, ours;
} Plan;

static bool get(virDomainPtr domain, const char *target, Limits *ret_limits, GError **error)
{
    int n = 0;
    *ret_limits = (Limits){0};
    if (virDomainGetBlockIoTune(domain, target, NULL, &n, VIR_DOMAIN_AFFECT_LIVE) < 0)
        return vms_virt_fail(error, "read the disk's limits");
    virTypedParameterPtr params = g_new0(virTypedParameter, (gsize)n);
    bool ok = virDomainGetBlockIoTune(domain, target, params, &n, VIR_DOMAIN_AFFECT_LIVE) == 0;
    if (!ok)
        vms_virt_fail(error, "read the disk's limits");
    for (int i = 0; ok && i < FIELDS; i++)
        virTypedParamsGetULLong(params, n, names[i], &ret_limits->values[i]);
    virTypedParamsClear(params, n);
    g_free(params);
    return ok;
}

static bool set(virDomainPtr domain, const char *target, const Limits *limits, GError **error)
{
    virTypedParameterPtr params = NULL;
    int n = 0, max = 0;
    bool ok = true;
    for (int i = 0; ok && i < FIELDS; i++)
        ok = virTypedParamsAddULLong(&params, &n, &max, names[i], limits->values[i]) == 0;
    ok = ok && virDomainSetBlockIoTune(domain, target, params, n, VIR_DOMAIN_AFFECT_LIVE) == 0;
    if (!ok)
        vms_virt_fail(error, "set the disk's limits");
    virTypedParamsFree(params, n);
    return ok;
}

/* values: total, read, write. */
static void lower(unsigned long long *values, unsigned long long limit)
{
    unsigned long long *value = &values[values[0] ? 0 : 2];
    *value = *value ? MIN(*value, limit) : limit;
}

static bool parse(const char *text, Plan *ret_plan, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    bool ok = g_strv_length(words) == 2 * FIELDS;
    for (int i = 0; ok && i < 2 * FIELDS; i++) {
        guint64 value = 0;
        ok = g_ascii_string_to_unsigned(words[i], 10, 0, G_MAXUINT64, &value, NULL);
        Limits *limits = i < FIELDS ? &ret_plan->before : &ret_plan->ours;
        limits->values[i % FIELDS] = value;
    }
    return ok || vms_fail(error, VMS_ERROR_CORRUPT, "\"%s\" are no limits of a disk", text);
}

char *vms_throttle_plan(virDomainPtr domain, const char *target, uint64_t bytes_per_s,
                        GError **error)
{
    Plan plan = {0};
    if (!get(domain, target, &plan.before, error))
        return NULL;
    plan.ours = plan.before;
    lower(plan.ours.values + BYTES, bytes_per_s);
    lower(plan.ours.values + IOPS, MAX(bytes_per_s / PIECE, 1));
    GString *text = g_string_new(NULL);
    for (int i = 0; i < 2 * FIELDS; i++) {
        const Limits *limits = i < FIELDS ? &plan.before : &plan.ours;
        g_string_append_printf(text, "%s%llu", i ? " " : "", limits->values[i % FIELDS]);
    }
    return g_string_free(text, FALSE);
}

bool vms_throttle_set(virDomainPtr domain, const char *target, const char *plan, GError **error)
{
    Plan limits;
    return parse(plan, &limits, error) && set(domain, target, &limits.ours, error);
}

/* Nothing that could be limited is left. */
static bool is_gone(virDomainPtr domain, const char *target)
{
    g_autofree char *live = NULL, *persistent = NULL;
    if (vms_virt_is_off(domain))
        return true;
    return vms_overlay_where(domain, target, &live, &persistent, NULL) && !live;
}

bool vms_throttle_undo(virDomainPtr domain, const char *target, const char *plan, GError **error)
{
    Plan limits;
    Limits now;
    if (!parse(plan, &limits, error))
        return false;
    if (is_gone(domain, target))
        return true;
    return get(domain, target, &now, error) && (memcmp(&now, &limits.ours, sizeof now) != 0 ||
                                                set(domain, target, &limits.before, error));
}

char *vms_throttle_undo_command(const char *target, const char *plan)
{
    Plan limits;
    if (!parse(plan, &limits, NULL))
        return NULL;
    GString *command = g_string_new(NULL);
    g_string_append_printf(command, "blkdeviotune %s --live", target);
    for (int i = 0; i < FIELDS; i++) /* virsh calls them as libvirt does, with "-" for "_" */
        g_string_append_printf(command, " --%s %llu", names[i], limits.before.values[i]);
    char *text = g_string_free(command, FALSE);
    for (char *at = text + strlen("blkdeviotune ") + strlen(target); *at; at++)
        *at = *at == '_' ? '-' : *at;
    return text;
}
