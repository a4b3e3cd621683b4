/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's XML for a restored copy, and bringing it to life. */
#pragma once

#include "virt/conn.h"

typedef struct {
    const char *target; /* disk vda … */
    const char *path;   /* its new image */
    const char *format; /* raw or qcow2 */
} VmsNewDisk;

/* xml with name (nullable: kept), disks replaced (no backing chain left), disks not in list removed
 * with a note, NVRAM path (nullable: kept). new_identity: a new UUID; new MACs too unless keep_macs
 * (a guest restored with memory knows its MAC). Paths libvirt generates itself (channels, monitors,
 * nvram from template) are dropped so that two copies do not collide. UEFI/TPM keep theirs. */
char *vms_define_rewrite(const char *xml, const char *name, bool new_identity, bool keep_macs,
                         const VmsNewDisk *disks, size_t n_disks, const char *nvram,
                         GError **error);

/* Same rewriting applied consistently to two XMLs (definition and the one in the save image): pass
 * the first result's UUID and MACs on. Reads uuid (transfer full) out of an XML. */
char *vms_define_uuid(const char *xml, GError **error);
char *vms_define_set_uuid(const char *xml, const char *uuid, GError **error);

/* Defines persistently. EXISTS where a domain of that name or UUID is there and replace is false;
 * with replace a running one is refused. */
virDomainPtr vms_define_domain(VmsConn *conn, const char *xml, bool replace, GError **error);

/* Can libvirtd, which may see other files than we do, read the header of a save image at path? */
bool vms_define_can_read_memory(VmsConn *conn, const char *path, GError **error);

/* virDomainRestoreFlags of a save image whose XML is already the wanted one; running or paused. */
bool vms_define_restore_memory(VmsConn *conn, const char *save_path, bool paused, GError **error);
