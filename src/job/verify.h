/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a stored snapshot back, every byte of it, without keeping it. */
#pragma once

#include "job/context.h"

typedef struct {
    char *snapshot; /* 64 hex */
    char *domain;
    unsigned disks;
    bool images;         /* they are plain ones, not in a repository */
    uint64_t chunks;     /* read and verified; of plain images: objects */
    uint64_t bytes;      /* plaintext of these */
    uint64_t bytes_zero; /* zeroes, verified as such by id */
    int64_t duration_us;
} VmsVerifyResult;

void vms_verify_result_free(VmsVerifyResult *result);

/* CORRUPT names the object and the disk. */
VmsVerifyResult *vms_verify(VmsContext *context, const char *repository, const char *snapshot,
                            GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsVerifyResult, vms_verify_result_free)
