/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON of a lock. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t time_us;
    bool exclusive;
    char *hostname;
    char *username;
    uint64_t pid;
} VmsLockFile;

/* Of this process, now. */
VmsLockFile *vms_lock_file_new(bool exclusive);
void vms_lock_file_free(VmsLockFile *file);

/* (transfer full) */
char *vms_lock_file_build(const VmsLockFile *file);
/* INVALID */
VmsLockFile *vms_lock_file_parse(const char *text, size_t len, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsLockFile, vms_lock_file_free)
