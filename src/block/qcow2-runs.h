/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of neighbouring clusters, in order: a batch of them in memory, more than that in a temporary
 * file. Private to block/. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsQcow2Runs VmsQcow2Runs;

VmsQcow2Runs *vms_qcow2_runs_new(void);
void vms_qcow2_runs_free(VmsQcow2Runs *runs);

/* Ascending; count > 0. Neighbours of one kind become one run. */
bool vms_qcow2_runs_add(VmsQcow2Runs *runs, uint64_t first, uint64_t count, bool zero,
                        GError **error);
/* No more will be added; needed before each. */
bool vms_qcow2_runs_end(VmsQcow2Runs *runs, GError **error);

typedef bool (*VmsQcow2RunFunc)(void *user, uint64_t first, uint64_t count, bool zero,
                                GError **error);
bool vms_qcow2_runs_each(VmsQcow2Runs *runs, VmsQcow2RunFunc func, void *user, GError **error);
