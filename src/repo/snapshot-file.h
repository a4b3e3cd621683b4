/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON of a snapshot file. Pure. */
#pragma once

#include "repo/snapshot.h"

/* (transfer full) */
char *vms_snapshot_file_build(const VmsRepoSnapshot *snapshot);

/* INVALID. The id is not set: it is the file's name. */
VmsRepoSnapshot *vms_snapshot_file_parse(const char *text, size_t len, GError **error);
