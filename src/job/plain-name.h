/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plain images are called in their store:
 *
 *     FOLDER/ID/vda.qcow2   FOLDER/ID/memory.save   FOLDER/ID/tpm/…   FOLDER/ID/vmsnap.json
 *
 * FOLDER is made of the domain's name, ID is the snapshot's local one, 16 hex. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define VMS_PLAIN_MEMORY "memory.save"
#define VMS_PLAIN_MANIFEST "vmsnap.json" /* of a snapshot, written last */

/* Lower-case ASCII letters, digits, ".", "-" and "_"; whatever else a name has becomes "_". Several
 * domains may share one: the snapshots' ids tell them apart, and the manifest has the name
 * (transfer full). */
char *vms_plain_folder(const char *domain);

/* "FOLDER/ID": where that snapshot of the domain lies (transfer full). */
char *vms_plain_snapshot_folder(const char *domain, const char *id);

/* "FOLDER/ID/NAME" (transfer full). */
char *vms_plain_object(const char *folder, const char *id, const char *name);

/* How an image names the one it stands on: "../ID/NAME" (transfer full). */
char *vms_plain_backing(const char *id, const char *name);

/* A file of a snapshot other than its manifest: a plain name, or one in tpm/. */
bool vms_plain_is_file(const char *name);
