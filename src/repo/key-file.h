/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Key files: the master key, sealed with a key derived from a password. Pure. */
#pragma once

#include "base/secret.h"
#include "codec/kdf.h"
#include "codec/seal.h"

typedef struct {
    VmsKdfParams params;
    GBytes *salt;
    GBytes *data; /* the sealed master key */
} VmsKeyFile;

/* CORRUPT, UNSUPPORTED (a KDF other than scrypt). */
VmsKeyFile *vms_key_file_parse(const char *text, size_t len, GError **error);
void vms_key_file_free(VmsKeyFile *file);

/* AUTH where the password is not this key's, CORRUPT. */
VmsSealKey *vms_key_file_unlock(const VmsKeyFile *file, const VmsSecret *password, GError **error);

/* The text of a key file that opens master with password (transfer full). params: what each guess
 * at the password costs, and each opening; vms_kdf_default. */
char *vms_key_file_build(const VmsSealKey *master, const VmsSecret *password,
                         const VmsKdfParams *params, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsKeyFile, vms_key_file_free)
