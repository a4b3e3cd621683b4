/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the index cache keeps blobs: the list of a pack is cut into parts small enough to be read for
 * one look-up. Pure: bytes in, bytes out. */
#pragma once

#include "repo/pack.h"

#define VMS_INDEX_PART_BLOBS 24

/* Parts that a pack of count blobs is cut into; at least 1. */
size_t vms_index_parts(size_t count);

/* The bytes of part number at of the pack (transfer full), with a checksum. */
GByteArray *vms_index_part_encode(const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                                  size_t at);

/* Appends the blobs of a part to blobs (of VmsPackBlob). CORRUPT for any byte that is not as it was
 * written. */
bool vms_index_part_decode(const void *data, size_t len, VmsId *ret_pack, GArray *blobs,
                           GError **error);

/* Tells the lists of one pack apart: 64 bits of a SHA-256 over all blobs. */
int64_t vms_index_pack_sum(const VmsId *pack, const VmsPackBlob *blobs, size_t count);

/* What the look-up table goes by: the first 64 bits of the id. */
int64_t vms_index_key(const VmsId *id);
