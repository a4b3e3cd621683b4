/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The content list of a file: one blob id per chunk, kept in an unlinked temporary file so that
 * memory does not grow with the disk. */
#pragma once

#include "repo/repo.h"

typedef struct VmsContent VmsContent;

/* A list of count ids, all zero bytes at first. */
VmsContent *vms_content_new(uint64_t count, GError **error);
void vms_content_free(VmsContent *content);
uint64_t vms_content_count(const VmsContent *content);
/* INVALID beyond the end. Safe from several threads at once. */
bool vms_content_set(VmsContent *content, uint64_t at, const VmsId *id, GError **error);
/* The same id count times from at on. */
bool vms_content_fill(VmsContent *content, uint64_t at, uint64_t count, const VmsId *id,
                      GError **error);
bool vms_content_get(const VmsContent *content, uint64_t at, VmsId *ret_id, GError **error);
/* count ids from at. */
bool vms_content_read(const VmsContent *content, uint64_t at, size_t count, VmsId *ret_ids,
                      GError **error);
/* Makes the list longer; for one thread. */
bool vms_content_append(VmsContent *content, const VmsId *ids, size_t count, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsContent, vms_content_free)
