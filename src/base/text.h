/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers, times and bytes as text. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lower-case hex, 2*len characters and a NUL (transfer full). */
char *vms_text_hex(const uint8_t *data, size_t len);
/* Exactly 2*len hex digits of either case. INVALID. */
bool vms_text_unhex(const char *text, uint8_t *data, size_t len, GError **error);

/* "512", "64K", "1.5G", "1TiB": powers of 1024. INVALID. */
bool vms_text_parse_size(const char *text, uint64_t *ret_bytes, GError **error);
/* "1.5 GiB" (transfer full). */
char *vms_text_size(uint64_t bytes);

/* RFC 3339 in UTC with nanoseconds, as restic writes it; µs since 1970 in (transfer full). */
char *vms_text_time(int64_t unix_us);
/* RFC 3339 with any offset and up to nine decimals. INVALID. */
bool vms_text_parse_time(const char *text, int64_t *ret_unix_us, GError **error);
