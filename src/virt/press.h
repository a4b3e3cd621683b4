/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: what is done, one step after the other, where a guest writes faster than its
 * overlay is merged, and its undoing (P1). */
#pragma once

#include "virt/commit.h"

typedef struct VmsPress VmsPress;

/* For a job that runs. target and options are kept. */
VmsPress *vms_press_new(virDomainPtr domain, const char *target, const VmsCommitOptions *options);

/* After each look at the job. passed: all that there was to copy in the beginning is copied, so
 * that what is left was written since. */
bool vms_press_look(VmsPress *press, const virDomainBlockJobInfo *info, bool passed,
                    GError **error);

/* All is as it was, also through a libvirtd that is restarted meanwhile; frees press. An error: the
 * guest is still paused or throttled. */
bool vms_press_end(VmsPress *press, GError **error);
