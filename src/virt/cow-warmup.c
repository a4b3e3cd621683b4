/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/cow-warmup.h"

#include "base/error.h"
#include "base/failpoint.h"
#include "virt/cow-setup.h"
#include "virt/qemu-process.h"
#include "virt/qmp.h"
#include "virt/xml.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define POLL_US 2000
#define PATIENCE_US (5 * G_USEC_PER_SEC)
#define SLOWEST (UINT64_C(256) << 20) /* bytes of memory populated in a second */
#define SLOWEST_SWAP (UINT64_C(8) << 20)
#define LEAST_SWAPPED (UINT64_C(1) << 20) /* a warm-up stops the guest for some ms too */

bool vms_cow_warmup_is_shared(const VmsFacts *facts)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(facts->xml, NULL);
    return doc && vms_xml_node(doc, NULL,
                               "/domain/memoryBacking/source[@type='memfd'] | "
                               "/domain/memoryBacking/access[@mode='shared'] | "
                               "/domain/cpu/numa/cell[@memAccess='shared'] | "
                               "/domain/devices/memory[@access='shared']") != NULL;
}

uint64_t vms_cow_warmup_swapped(const VmsFacts *facts)
{
    g_autofree char *status = vms_qemu_proc(vms_qemu_pid(facts), "status");
    uint64_t kib = 0;
    return status && vms_qemu_proc_number(status, "VmSwap", &kib) ? kib * 1024 : 0;
}

bool vms_cow_warmup_needed(const VmsFacts *facts)
{
    return vms_cow_warmup_is_shared(facts) || vms_cow_warmup_swapped(facts) >= LEAST_SWAPPED;
}

int64_t vms_cow_warmup_patience_us(const VmsFacts *facts)
{
    return PATIENCE_US +
           (int64_t)(facts->memory / SLOWEST + vms_cow_warmup_swapped(facts) / SLOWEST_SWAP) *
               G_USEC_PER_SEC;
}

static bool wait_for_pages(virDomainPtr domain, const VmsFacts *facts, GCancellable *cancellable,
                           GError **error)
{
    int64_t end = g_get_monotonic_time() + vms_cow_warmup_patience_us(facts);
    for (;;) {
        g_auto(VmsMigration) migration = {0};
        if (!vms_check_cancelled(cancellable, error) ||
            !vms_qmp_migration(domain, &migration, error))
            return false;
        if (migration.pages > 0)
            return true;
        if (migration.state != VMS_MIGRATION_RUNNING)
            return vms_fail(error, VMS_ERROR_FAILED, "QEMU says: %s",
                            migration.reason ? migration.reason : "it has ended");
        if (g_get_monotonic_time() > end)
            return vms_fail(error, VMS_ERROR_FAILED, "QEMU takes too long");
        g_usleep(POLL_US);
    }
}

static bool populate(virDomainPtr domain, const VmsFacts *facts, GCancellable *cancellable,
                     GError **error)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0)
        return vms_fail_errno(error, errno, "/dev/null");
    bool ok = vms_qmp_give_fd(domain, VMS_COW_FD_NAME, nowhere, error);
    close(nowhere);
    if (!ok ||
        !vms_qmp_run(domain,
                     "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:" VMS_COW_FD_NAME "\"}}",
                     -1, NULL, error))
        return false;
    vms_failpoint("cow.warmup-begun");
    ok = wait_for_pages(domain, facts, cancellable, error);
    vms_failpoint("cow.warmup-done");
    return vms_cow_cancel(domain, ok ? error : NULL) && ok;
}

bool vms_cow_warmup(virDomainPtr domain, const VmsFacts *facts, GCancellable *cancellable,
                    GError **error)
{
    return populate(domain, facts, cancellable, error) || vms_prefix(error, "populating memory");
}
