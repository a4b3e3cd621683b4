/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling in what a restore gives back. Private to job/. */
#pragma once

#include "job/restore-plan.h"

/* snapshot: its id, 64 hex. */
VmsRestoreResult *vms_restore_result_new(const char *snapshot);
void vms_restore_result_add_disk(VmsRestoreResult *result, const VmsPlannedDisk *disk);
