/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What writer.c, upload.c and blob-stream.c share. */
#pragma once

#include "repo/upload.h"
#include "repo/writer.h"

#include <gio/gio.h>

/* Claims the blob for the caller, who must then store it: *ret_known false. Known where the
 * repository or this writer has it. */
bool vms_repo_writer_claim(VmsRepoWriter *writer, VmsBlobType type, const VmsId *id,
                           bool *ret_known, GError **error);

/* Hands over a pack that is whole (takes pack). */
bool vms_repo_writer_submit(VmsRepoWriter *writer, VmsUploadPack *pack, GError **error);

VmsRepo *vms_repo_writer_repo(VmsRepoWriter *writer);
int vms_repo_writer_level(VmsRepoWriter *writer); /* zstd, 0: not */

/* Counts a new blob of len bytes that took pack_us to make. */
void vms_repo_writer_count_new(VmsRepoWriter *writer, uint64_t len, uint64_t pack_us);
