/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* On QEMU before 8.1 a background snapshot that fails or is cancelled leaves the pages it has
 * write-protected so for good: the guest hangs at its next write, and only destroying it helps.
 *
 * Whether host and guest memory allow it is known to QEMU alone, which says so when the capability
 * is switched on. So it is switched on, and off again at once; a guard does that if we are killed.
 * Nobody sees it but who migrates the domain in that moment; where a migration or a job of libvirt
 * is under way it is not tried. */
#include "virt/check-cow.h"

#include "base/text.h"
#include "virt/cow-setup.h"
#include "virt/cow-warmup.h"
#include "virt/qmp.h"
#include "virt/xml.h"

#include <string.h>

#define OLDEST_QEMU 8001000
#define USE_LIVE "use --memory=live"
#define LESS_MEMORY "free some memory of the host, or " USE_LIVE

static bool check_version(const VmsChecking *c, VmsFindingSeverity severity)
{
    g_autoptr(GError) error = NULL;
    unsigned version = 0;
    if (!vms_facts_qemu_version(c->domain, &version, &error)) {
        vms_check_add(c, severity, "cow-qemu-unknown", NULL, USE_LIVE, "copy-on-write memory: %s",
                      error->message);
        return false;
    }
    if (version < OLDEST_QEMU)
        vms_check_add(c, severity, "cow-qemu-old", NULL,
                      "run the domain on QEMU 8.1 or later (Debian 13 has 10.0)",
                      "copy-on-write memory needs QEMU 8.1, and this domain runs on %u.%u: there a "
                      "failure would hang the guest for good",
                      version / 1000000, version / 1000 % 1000);
    return version >= OLDEST_QEMU;
}

/* QEMU lists devices and other things that forbid a migration of any kind. NULL where it does not.
 */
static char *blocked_reasons(virDomainPtr domain)
{
    g_autoptr(VmsJson) reply = NULL;
    VmsJson *info, *reasons;
    g_autoptr(GString) text = g_string_new(NULL);
    if (!vms_qmp_run(domain, "{\"execute\":\"query-migrate\"}", -1, &reply, NULL) ||
        !vms_json_object(reply, "return", &info, NULL) || !vms_json_has(info, "blocked-reasons") ||
        !vms_json_array(info, "blocked-reasons", &reasons, NULL))
        return NULL;
    for (size_t i = 0; i < vms_json_length(reasons); i++) {
        const char *reason;
        if (vms_json_element_string(reasons, i, &reason, NULL))
            g_string_append_printf(text, "%s%s", text->len ? "; " : "", reason);
    }
    return text->len ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

static bool check_migration(const VmsChecking *c, VmsFindingSeverity severity)
{
    g_auto(VmsMigration) migration = {0};
    g_autoptr(GError) error = NULL;
    if (!vms_qmp_migration(c->domain, &migration, &error)) {
        vms_check_add(c, severity, "cow-qemu-unknown", NULL, USE_LIVE, "copy-on-write memory: %s",
                      error->message);
        return false;
    }
    if (migration.state == VMS_MIGRATION_RUNNING) {
        vms_check_add(c, severity, "cow-migration-active", NULL,
                      "wait until it is over; \"vmsnap drop\" ends what an interrupted run left",
                      "QEMU is already migrating the domain or writing its memory");
        return false;
    }
    g_autofree char *blocked = blocked_reasons(c->domain);
    if (blocked)
        vms_check_add(c, severity, "cow-migration-blocked", NULL,
                      "remove what blocks it, or use --memory=none",
                      "QEMU cannot save the memory of this domain: %s", blocked);
    return !blocked;
}

static bool has_huge_pages(const VmsFacts *facts)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(facts->xml, NULL);
    return doc && vms_xml_node(doc, NULL, "/domain/memoryBacking/hugepages") != NULL;
}

/* Shared memory is populated whole before it can be protected; huge pages are reserved anyway. What
 * of other memory is swapped out is brought in. */
static bool check_host_memory(const VmsChecking *c, VmsFindingSeverity severity)
{
    uint64_t resident = 0, available = 0, swapped = vms_cow_warmup_swapped(c->facts);
    bool shared = vms_cow_warmup_is_shared(c->facts);
    if (!vms_cow_warmup_needed(c->facts) || has_huge_pages(c->facts) ||
        !vms_check_cow_memory(c->facts, &resident, &available))
        return true;
    uint64_t absent = c->facts->memory > resident ? c->facts->memory - resident : 0;
    uint64_t need = shared ? absent : swapped;
    if (need <= available)
        return true;
    g_autofree char *need_text = vms_text_size(need), *available_text = vms_text_size(available);
    g_autofree char *resident_text = vms_text_size(resident);
    g_autofree char *memory_text = vms_text_size(c->facts->memory);
    if (shared)
        vms_check_add(c, severity, "cow-host-memory", NULL, LESS_MEMORY,
                      "the guest's memory is a shared mapping, which copy-on-write populates "
                      "whole: of %s it has %s, so %s more are needed, and the host has %s "
                      "available",
                      memory_text, resident_text, need_text, available_text);
    else
        vms_check_add(c, severity, "cow-host-memory", NULL, LESS_MEMORY,
                      "of the guest's memory %s are swapped out, which copy-on-write needs back, "
                      "and the host has %s available",
                      need_text, available_text);
    return false;
}

static void report_refusal(const VmsChecking *c, VmsFindingSeverity severity, const char *says)
{
    if (strstr(says, "not supported by host kernel")) {
        VmsUserfaultfd found;
        vms_check_cow_look(c->facts, &found);
        g_autofree char *remedy = NULL, *why = vms_check_cow_userfaultfd(&found, &remedy);
        vms_check_add(c, severity, "cow-userfaultfd", NULL, remedy,
                      "QEMU cannot write-protect the guest's memory (userfaultfd): %s", why);
    } else if (strstr(says, "guest memory configuration")) {
        vms_check_add(c, severity, "cow-memory-backing", NULL,
                      "back it with anonymous memory, memfd or huge pages, or " USE_LIVE,
                      "the guest's memory is backed by a file, which cannot be write-protected");
    } else if (strstr(says, "not compatible with")) {
        vms_check_add(c, severity, "cow-capability", NULL,
                      "switch it off with \"virsh qemu-monitor-command\", or " USE_LIVE,
                      "a migration capability that is on excludes copy-on-write memory: %s", says);
    } else {
        vms_check_add(c, severity, "cow-refused", NULL, USE_LIVE, "%s", says);
    }
}

static bool try_alone(const VmsChecking *c, VmsFindingSeverity severity)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsCowSetup) setup = vms_cow_setup_new(c->domain, &error);
    if (setup && vms_cow_setup_undo(setup, c->domain, &error))
        return true;
    report_refusal(c, severity, error->message);
    return false;
}

/* Another vmsnap may be between switching the capability on and using it. */
static bool try_it(const VmsChecking *c, VmsFindingSeverity severity)
{
    const VmsCheckOptions *options = c->options;
    if (options->lock && !options->lock(options->lock_user)) {
        vms_check_add(
            c, VMS_FINDING_INFO, "cow-not-tried", NULL, NULL,
            "another vmsnap works on the domain (or the lock cannot be taken), so whether "
            "QEMU can write-protect its memory was not tried");
        return true;
    }
    bool ok = try_alone(c, severity);
    if (options->unlock)
        options->unlock(options->lock_user);
    return ok;
}

bool vms_check_cow(const VmsChecking *c, VmsFindingSeverity severity)
{
    virDomainJobInfo job;
    if (!check_version(c, severity) || !check_migration(c, severity))
        return false;
    bool enough = check_host_memory(c, severity);
    /* A job is a refusal by itself. */
    bool busy = virDomainGetJobInfo(c->domain, &job) == 0 && job.type != VIR_DOMAIN_JOB_NONE;
    return (busy || try_it(c, severity)) && enough;
}
