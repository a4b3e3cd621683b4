/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/check-private.h"
#include "virt/quiesce.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define AGENT_TIMEOUT_S 5
#define OLDEST_LIBVIRT 9000000 /* Debian 12's */

static void check_paused(const VmsChecking *c)
{
    switch (c->facts->state_reason) {
    case VIR_DOMAIN_PAUSED_MIGRATION:
    case VIR_DOMAIN_PAUSED_SAVE:
    case VIR_DOMAIN_PAUSED_DUMP:
    case VIR_DOMAIN_PAUSED_SNAPSHOT:
    case VIR_DOMAIN_PAUSED_STARTING_UP:
        vms_check_add(c, VMS_FINDING_REFUSAL, "domain-busy", NULL, "wait until that is over",
                      "the domain is paused by another operation of libvirt");
        break;
    case VIR_DOMAIN_PAUSED_IOERROR:
        vms_check_add(c, VMS_FINDING_WARNING, "domain-io-error", NULL,
                      "look after its storage and resume it",
                      "the domain was paused by an I/O error; what it wrote last may be missing");
        break;
    default:
        vms_check_add(c, VMS_FINDING_INFO, "domain-paused", NULL, NULL,
                      "the domain is paused; the snapshot is taken so, and it stays paused");
    }
}

static void check_domain_state(const VmsChecking *c)
{
    switch (c->facts->state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        break;
    case VIR_DOMAIN_PAUSED:
        check_paused(c);
        break;
    case VIR_DOMAIN_SHUTOFF:
        vms_check_add(c, VMS_FINDING_INFO, "domain-shut-off", NULL, NULL,
                      "the domain is shut off: its disks are captured, and there is no memory");
        break;
    case VIR_DOMAIN_PMSUSPENDED:
        vms_check_add(c, VMS_FINDING_INFO, "domain-pm-suspended", NULL, NULL,
                      "the guest has suspended itself");
        break;
    case VIR_DOMAIN_SHUTDOWN:
        vms_check_add(c, VMS_FINDING_REFUSAL, "domain-shutting-down", NULL, "wait until it is off",
                      "the domain is just shutting down");
        break;
    default:
        vms_check_add(c, VMS_FINDING_REFUSAL, "domain-crashed", NULL,
                      "start it again, or destroy it and take it shut off",
                      "the domain has crashed");
    }
}

/* What libvirt cannot tell counts as none: the snapshot itself is refused by libvirt then. */
static void check_jobs(const VmsChecking *c)
{
    virDomainJobInfo job;
    if (!c->facts->active)
        return;
    if (virDomainGetJobInfo(c->domain, &job) == 0 && job.type != VIR_DOMAIN_JOB_NONE)
        vms_check_add(c, VMS_FINDING_REFUSAL, "job-active", NULL,
                      "wait until it is over (\"virsh domjobinfo\" shows it)",
                      "another job of libvirt (backup, save, migration) runs on the domain");
    for (guint i = 0; i < c->facts->disks->len; i++) {
        const VmsDisk *disk = c->facts->disks->pdata[i];
        virDomainBlockJobInfo info;
        if (disk->source && virDomainGetBlockJobInfo(c->domain, disk->target, &info, 0) > 0)
            vms_check_add(c, VMS_FINDING_REFUSAL, "blockjob-active", disk->target,
                          "wait until it is over, or abort it with \"virsh blockjob --abort\"",
                          "a block job runs");
    }
}

/* Of a domain that runs it must be there. */
static void check_readable(const VmsChecking *c, const char *path, const char *code,
                           const char *what)
{
    if (path && c->facts->active && access(path, R_OK) < 0)
        vms_check_add(c, VMS_FINDING_REFUSAL, code, NULL,
                      "run vmsnap as root on the domain's own host, and look where they went",
                      "%s cannot be read from %s: %s", what, path, g_strerror(errno));
}

/* What is copied with the disks, and what cannot be. */
static void check_side_files(const VmsChecking *c)
{
    check_readable(c, c->facts->nvram, "nvram-unreadable", "the UEFI variables");
    check_readable(c, c->facts->tpm_state, "tpm-state-unreadable", "the TPM's state files");
    if (c->facts->nvram_remote)
        vms_check_add(c, VMS_FINDING_WARNING, "nvram-left-out", NULL,
                      "keep them in a local file, or back them up where they are",
                      "the UEFI variables are on the network and not part of the snapshot");
    if (c->facts->has_tpm && !c->facts->tpm_state)
        vms_check_add(c, VMS_FINDING_WARNING, "tpm-state-left-out", NULL,
                      "back up the TPM's state where the guest seals keys with it",
                      "the TPM is not one that libvirt emulates, and its state is not part of the "
                      "snapshot");
}

void vms_check_state(const VmsChecking *c)
{
    unsigned long version = 0;
    if (virConnectGetLibVersion(virDomainGetConnect(c->domain), &version) == 0 &&
        version < OLDEST_LIBVIRT)
        vms_check_add(c, VMS_FINDING_WARNING, "libvirt-old", NULL, "upgrade to 9.0 or later",
                      "libvirt %lu.%lu is older than what vmsnap is tested with", version / 1000000,
                      version / 1000 % 1000);
    check_domain_state(c);
    check_jobs(c);
    check_side_files(c);
    if (!c->facts->active && virDomainHasManagedSaveImage(c->domain, 0) == 1)
        vms_check_add(c, VMS_FINDING_REFUSAL, "managed-save", NULL,
                      "start it (it goes on where it was saved), or give the saved memory up with "
                      "\"virsh managedsave-remove\"",
                      "libvirt keeps a saved memory of this domain, which would go on writing to "
                      "the images as they are called now");
    int snapshots = virDomainSnapshotNum(c->domain, 0);
    if (snapshots > 0)
        vms_check_add(c, VMS_FINDING_INFO, "snapshot-exists", NULL, NULL,
                      "libvirt keeps %d snapshots of this domain; reverting to one takes it off "
                      "vmsnap's overlays",
                      snapshots);
    if (c->facts->active && !c->facts->persistent)
        vms_check_add(
            c, VMS_FINDING_WARNING, "domain-transient", NULL,
            "merge the overlays before it ends, or define it",
            "the domain is transient: once it ends, nobody knows that its last writes are "
            "in the overlays");
}

/* The stable code of a blocker, which facts write as "KIND: what". */
static const char *blocker_code(const char *blocker)
{
    static const char *const codes[] = {
        "memory-blocked-hostdev",  "memory-blocked-vhost-user", "memory-blocked-vdpa",
        "memory-blocked-virtiofs", "memory-blocked-9p",         "memory-blocked-tpm",
        "memory-blocked-shmem",    "memory-blocked-invtsc",     "memory-blocked-launch-security",
    };
    const size_t prefix = strlen("memory-blocked-");
    const char *colon = strchr(blocker, ':');
    for (size_t i = 0; colon && i < G_N_ELEMENTS(codes); i++)
        if (strlen(codes[i]) - prefix == (size_t)(colon - blocker) &&
            strncmp(codes[i] + prefix, blocker, (size_t)(colon - blocker)) == 0)
            return codes[i];
    return "memory-blocked";
}

/* Devices that make a saved memory impossible, whatever saves it. */
static bool check_blockers(const VmsChecking *c, VmsFindingSeverity severity)
{
    const VmsFacts *facts = c->facts;
    bool possible = true;
    for (char **blocker = facts->blockers; blocker && *blocker; blocker++) {
        const char *colon = strchr(*blocker, ':');
        vms_check_add(c, severity, blocker_code(*blocker), NULL,
                      "detach it, or take the disks alone with --memory=none",
                      "memory cannot be captured:%s", colon ? colon + 1 : *blocker);
        possible = false;
    }
    if (facts->state == VIR_DOMAIN_PMSUSPENDED) {
        vms_check_add(c, severity, "memory-pm-suspended", NULL,
                      "wake it with \"virsh dompmwakeup\", or use --memory=none",
                      "the memory of a guest that has suspended itself cannot be captured");
        possible = false;
    }
    return possible;
}

static void check_live(const VmsChecking *c)
{
    /* A background snapshot does not give the images up. */
    if (c->facts->state == VIR_DOMAIN_PAUSED)
        vms_check_add(
            c, VMS_FINDING_WARNING, "memory-paused", NULL, "resume it before, or use --memory=none",
            "with its memory captured while it is paused, the overlays can be merged only "
            "after the domain has been resumed or shut off");
    /* Of a paused guest nothing changes while it is saved. */
    else if (c->facts->emulated)
        vms_check_add(c, VMS_FINDING_WARNING, "memory-emulated-live", NULL,
                      "run it under KVM, or on QEMU 8.1 or later with copy-on-write memory; its "
                      "disks are not concerned, \"vmsnap restore --no-memory\" boots from them",
                      "the guest is emulated (without KVM), and QEMU may then miss a page that "
                      "changes while memory is saved live: the restored guest may hang or crash");
}

void vms_check_memory(const VmsChecking *c)
{
    const VmsFacts *facts = c->facts;
    VmsCheckMemory wanted = c->options->memory;
    VmsFindingSeverity severity =
        wanted == VMS_CHECK_MEMORY_AUTO ? VMS_FINDING_WARNING : VMS_FINDING_REFUSAL;
    if (wanted == VMS_CHECK_MEMORY_NONE || !facts->active || !check_blockers(c, severity))
        return;
    if (wanted != VMS_CHECK_MEMORY_LIVE && vms_check_cow(c, severity))
        c->check->engine = VMS_CHECK_ENGINE_COW;
    else if (wanted != VMS_CHECK_MEMORY_COW)
        c->check->engine = VMS_CHECK_ENGINE_LIVE;
    if (c->check->engine == VMS_CHECK_ENGINE_LIVE)
        check_live(c);
}

/* Is the agent there, and nobody else's freeze in force? */
static bool check_agent(const VmsChecking *c, VmsFindingSeverity severity)
{
    g_autoptr(GError) error = NULL;
    bool frozen = false;
    if (!c->facts->has_agent) {
        vms_check_add(c, severity, "agent-missing", NULL,
                      "add a channel org.qemu.guest_agent.0 and install qemu-guest-agent, or use "
                      "--quiesce=off",
                      "the domain has no guest agent, so its file systems cannot be frozen");
        return false;
    }
    if (!vms_quiesce_is_frozen(c->domain, AGENT_TIMEOUT_S, &frozen, &error)) {
        vms_check_add(c, severity, "agent-silent", NULL,
                      "start qemu-guest-agent in the guest, or use --quiesce=off",
                      "file systems cannot be frozen: %s", error->message);
        return false;
    }
    if (frozen)
        vms_check_add(c, VMS_FINDING_REFUSAL, "already-frozen", NULL,
                      "wait for whoever froze them, or run \"virsh domfsthaw\"",
                      "the guest's file systems are frozen already");
    return !frozen;
}

void vms_check_quiesce(const VmsChecking *c)
{
    const VmsFacts *facts = c->facts;
    bool required = c->options->quiesce == VMS_CHECK_QUIESCE_REQUIRE;
    VmsFindingSeverity severity = required ? VMS_FINDING_REFUSAL : VMS_FINDING_WARNING;
    if (c->options->quiesce == VMS_CHECK_QUIESCE_OFF || !facts->active)
        return;
    if (facts->state != VIR_DOMAIN_RUNNING && facts->state != VIR_DOMAIN_BLOCKED) {
        vms_check_add(c, severity, "quiesce-not-running", NULL,
                      "resume the domain, or use --quiesce=off",
                      "the guest does not run, so its file systems cannot be frozen");
        return;
    }
    if (c->check->engine == VMS_CHECK_ENGINE_LIVE && !required) {
        vms_check_add(c, VMS_FINDING_INFO, "quiesce-skipped-live", NULL, NULL,
                      "file systems are not frozen: that would hold the guest's writes for as long "
                      "as its memory is saved, and memory and disks are one instant anyway");
        if (facts->agent_connected)
            check_agent(c, VMS_FINDING_INFO);
        return;
    }
    c->check->quiesce = check_agent(c, severity);
}
