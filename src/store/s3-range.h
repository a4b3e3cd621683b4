/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Content-Range header of RFC 9110, 14.4. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* "bytes FIRST-LAST/SIZE". False for everything else; text is nullable. */
bool vms_s3_range_parse(const char *text, uint64_t *ret_first, uint64_t *ret_size);
