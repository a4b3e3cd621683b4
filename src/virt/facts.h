/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain is, read once from libvirt: state, disks, agent, memory, devices that matter. */
#pragma once

#include "virt/conn.h"

#include <stdint.h>

typedef enum {
    VMS_DISK_FILE,
    VMS_DISK_BLOCK,
    VMS_DISK_NETWORK,
    VMS_DISK_OTHER /* volume, dir, nvme, vhostuser … */
} VmsDiskSourceType;

typedef struct {
    char *target; /* vda */
    char *bus;    /* virtio, scsi, sata … */
    char *device; /* disk, cdrom, floppy, lun */
    char *format; /* raw, qcow2 … as libvirt says it, never probed */
    VmsDiskSourceType source_type;
    char *source; /* path of the active layer; NULL where empty (cdrom) */
    bool readonly, shareable, transient;
    bool encrypted;      /* by QEMU: LUKS or the like */
    GPtrArray *backing;  /* of char*: paths below the active layer, nearest first (live XML) */
    uint64_t capacity;   /* bytes the guest sees; 0 where unknown */
    uint64_t allocation; /* bytes on the host */
} VmsDisk;

typedef struct {
    char *name;
    char *uuid;
    int state; /* virDomainState */
    int state_reason;
    bool active, persistent;
    bool emulated;   /* without KVM: QEMU executes the guest by itself */
    uint64_t memory; /* bytes, current maximum */
    unsigned vcpus;
    GPtrArray *disks;     /* of VmsDisk* in XML order */
    bool has_agent;       /* channel org.qemu.guest_agent.0 configured */
    bool agent_connected; /* state='connected' in live XML */
    char *nvram;          /* file or block device with the UEFI variables, nullable */
    bool nvram_remote;    /* they are on the network, where they cannot be copied */
    bool has_tpm;
    char *tpm_state; /* where an emulated TPM keeps its state, nullable; see virt/tpm.h */
    bool tpm_state_is_file;
    /* Of a running guest that gives a heartbeat (virt/heartbeat.h), nullable. */
    char *heartbeat_socket;
    char **blockers;      /* NULL-terminated, "KIND: what": devices that stop memory snapshots */
    char *xml;            /* live (SECURE is not asked for); inactive where shut off */
    char *xml_persistent; /* inactive definition; NULL where transient */
} VmsFacts;

VmsFacts *vms_facts_read(virDomainPtr domain, GError **error);
void vms_facts_free(VmsFacts *facts);
VmsDisk *vms_facts_disk(const VmsFacts *facts, const char *target); /* NULL: none */

/* Of the running emulator (QMP query-version) or the default one: major*1000000+minor*1000+micro.
 */
bool vms_facts_qemu_version(virDomainPtr domain, unsigned *ret_version, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsFacts, vms_facts_free)
