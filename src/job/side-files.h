/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest keeps beside its disks: UEFI variables and the state of an emulated TPM. Small, and
 * part of the instant. Private to job/.
 *
 *     prepare    before the pause: sources are found, directories made, record->nvram and ->tpm set
 *     take       in the pause: reads, changes nothing; some hundred microseconds
 *     store      after it: written, durable
 *
 * With engine live nobody can be called in the pause: take is called before and once more after
 * the cut, and store notes on the record what changed between. */
#pragma once

#include "job/config.h"
#include "job/record.h"
#include "virt/facts.h"

typedef struct VmsSideFiles VmsSideFiles;

/* Never NULL without an error: without UEFI and TPM there is just nothing to take. facts and record
 * are the caller's and stay there. A domain that never ran has no such files yet. */
VmsSideFiles *vms_side_files_prepare(const VmsConfig *config, const VmsFacts *facts,
                                     VmsRecord *record, GError **error);
bool vms_side_files_any(const VmsSideFiles *side);

/* side is a VmsSideFiles: a VmsCowInsideFunc. */
bool vms_side_files_take(void *side, GError **error);
bool vms_side_files_store(VmsSideFiles *side, GError **error);
void vms_side_files_free(VmsSideFiles *side);

/* Removes what store wrote; goes by the record alone. */
bool vms_side_files_remove(VmsRecord *record, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSideFiles, vms_side_files_free)
