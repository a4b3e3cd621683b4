/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The SHA-256 that names blobs, packs, snapshots. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_ID_LEN 32
#define VMS_ID_HEX_LEN 64

typedef struct {
    uint8_t bytes[VMS_ID_LEN];
} VmsId;

/* Writes 64 hex digits and a NUL. */
void vms_id_hex(const VmsId *id, char hex[VMS_ID_HEX_LEN + 1]);
/* Exactly 64 hex digits. INVALID. */
bool vms_id_parse(const char *hex, VmsId *ret_id, GError **error);
bool vms_id_equal(const VmsId *a, const VmsId *b);
