/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes that are wiped when freed: passwords, keys, S3 secrets. */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *data; /* owned, len bytes and a NUL that does not count */
    size_t len;
} VmsSecret;

/* Copies len bytes. The caller wipes its own copy. */
VmsSecret *vms_secret_new(const void *data, size_t len);
VmsSecret *vms_secret_new_string(const char *text);
VmsSecret *vms_secret_copy(const VmsSecret *secret);
void vms_secret_free(VmsSecret *secret); /* NULL is fine */

/* Overwrites len bytes in a way the compiler keeps. */
void vms_secret_wipe(void *data, size_t len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsSecret, vms_secret_free)
