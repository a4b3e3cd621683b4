/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* External snapshots: the overlay files and the transaction that switches all disks onto them. */
#pragma once

#include "virt/facts.h"

#include <sys/types.h>

/* One disk of a snapshot. */
typedef struct {
    char *target;
    char *base; /* path of the frozen image */
    char *base_format;
    char *overlay; /* path of the new qcow2 overlay */
    dev_t device;  /* of the overlay file we created (P3) */
    ino_t inode;
} VmsOverlay;

VmsOverlay *vms_overlay_new(const char *target, const char *base, const char *base_format,
                            const char *overlay);
void vms_overlay_free(VmsOverlay *overlay);

/* Creates the overlay file: qcow2 over base with its format, 0600, owner and group of the base (so
 * that QEMU can use it), never over an existing file (EXISTS). capacity in bytes. Sets device and
 * inode. */
bool vms_overlay_create_file(VmsOverlay *overlay, uint64_t capacity, GCancellable *cancellable,
                             GError **error);

/* Unlinks the file only if device and inode are what we recorded (else EXISTS, left alone); a file
 * that is not there is fine. The caller has made sure that libvirt does not use it. */
bool vms_overlay_remove_file(const VmsOverlay *overlay, GError **error);

/* Switches all disks at once: DISK_ONLY|ATOMIC|REUSE_EXT|NO_METADATA; disks that are not in
 * overlays are left out (snapshot='no'). overlays: VmsOverlay*. Also for a shut-off domain? No: see
 * vms_overlay_switch_offline. */
bool vms_overlay_switch(virDomainPtr domain, const VmsFacts *facts, GPtrArray *overlays,
                        GError **error);

/* The same with memory: external memory snapshot to memory_path with LIVE (pre-copy). The guest is
 * paused at the end for the last pages, disks are cut in that pause. NO_METADATA. A guest that
 * changes its memory faster than it is written is paused earlier, before the file needs more than
 * vms_overlay_memory_need(): *ret_outrun. */
bool vms_overlay_switch_with_memory(virDomainPtr domain, const VmsFacts *facts, GPtrArray *overlays,
                                    const char *memory_path, bool *ret_outrun, GError **error);

/* Bytes that the memory file takes at most. A guest is paused once its memory and a quarter more
 * have been written or are known to be left; QEMU learns of changed pages only at the end of a
 * pass, so that all of the memory may then be left once more. A little for page headers, 64 MiB for
 * devices and for what is written between two looks. */
uint64_t vms_overlay_memory_need(const VmsFacts *facts);

/* Cancels a running vms_overlay_switch_with_memory from another thread, and waits for its end. The
 * guest is paused for that moment. Not once QEMU has stopped it for its last pages: then it ends by
 * itself, and may succeed. *under_way (atomic) is true from before that was called until it has
 * returned: for so long it is tried. */
void vms_overlay_cancel(virDomainPtr domain, const char *memory_path, const int *under_way);

/* libvirt goes on with a snapshot whose client was killed: cancels it as above and waits until it
 * has ended, for a minute (LOCKED). True at once where there is none, or the domain is off. */
bool vms_overlay_end_job(virDomainPtr domain, GCancellable *cancellable, GError **error);

/* For a shut-off domain: redefines the persistent definition to point at the overlays (disk path,
 * format and backing chain). All or nothing: one virDomainDefineXML. */
bool vms_overlay_switch_offline(virConnectPtr conn, const VmsFacts *facts, GPtrArray *overlays,
                                GError **error);

/* Where libvirt now says that target's active layer is, live and persistent (transfer full,
 * nullable). */
bool vms_overlay_where(virDomainPtr domain, const char *target, char **ret_live,
                       char **ret_persistent, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsOverlay, vms_overlay_free)
