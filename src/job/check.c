/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/check.h"

#include "job/domain-lock.h"

typedef struct {
    VmsContext *context;
    const VmsFacts *facts;
    VmsDomainLock *lock;
} Locking;

static bool lock(void *user)
{
    Locking *locking = user;
    locking->lock =
        vms_domain_lock(locking->context->config, locking->facts->uuid, locking->facts->name, NULL);
    return locking->lock;
}

static void unlock(void *user)
{
    Locking *locking = user;
    g_clear_pointer(&locking->lock, vms_domain_lock_free);
}

VmsCheck *vms_check_facts(VmsContext *context, virDomainPtr domain, const VmsFacts *facts,
                          const VmsCreateOptions *options, bool locked, GError **error)
{
    Locking locking = {.context = context, .facts = facts};
    static const VmsCheckMemory memory[] = {
        [VMS_MEMORY_AUTO] = VMS_CHECK_MEMORY_AUTO,
        [VMS_MEMORY_COW] = VMS_CHECK_MEMORY_COW,
        [VMS_MEMORY_LIVE] = VMS_CHECK_MEMORY_LIVE,
        [VMS_MEMORY_NONE] = VMS_CHECK_MEMORY_NONE,
    };
    static const VmsCheckQuiesce quiesce[] = {
        [VMS_QUIESCE_AUTO] = VMS_CHECK_QUIESCE_AUTO,
        [VMS_QUIESCE_REQUIRE] = VMS_CHECK_QUIESCE_REQUIRE,
        [VMS_QUIESCE_OFF] = VMS_CHECK_QUIESCE_OFF,
    };
    g_autofree char *block_dir = g_build_filename(context->config->state_dir, "overlays", NULL);
    g_autofree char *memory_dir = g_build_filename(context->config->state_dir, "memory", NULL);
    VmsCheckOptions check_options = {
        .memory = memory[options->memory],
        .quiesce = quiesce[options->quiesce],
        .block_overlay_dir = block_dir,
        .memory_dir = memory_dir,
        .lock = locked ? NULL : lock,
        .unlock = locked ? NULL : unlock,
        .lock_user = &locking,
    };
    return vms_check_run(domain, facts, &check_options, error);
}

VmsCheckResult *vms_check(VmsContext *context, const char *name, const VmsCreateOptions *options,
                          GError **error)
{
    VmsConn *conn = vms_context_conn(context, error);
    g_autoptr(virDomain) domain = conn ? vms_conn_lookup(conn, name, error) : NULL;
    g_autoptr(VmsFacts) facts = domain ? vms_facts_read(domain, error) : NULL;
    if (!facts)
        return NULL;
    g_autoptr(VmsCheckResult) result = g_new0(VmsCheckResult, 1);
    result->domain = g_strdup(facts->name);
    result->uuid = g_strdup(facts->uuid);
    result->active = facts->active;
    result->findings = vms_check_facts(context, domain, facts, options, false, error);
    return result->findings ? g_steal_pointer(&result) : NULL;
}

void vms_check_result_free(VmsCheckResult *result)
{
    if (!result)
        return;
    g_free(result->domain);
    g_free(result->uuid);
    vms_check_free(result->findings);
    g_free(result);
}
