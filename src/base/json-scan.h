/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking ahead in JSON text, many bytes at once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* How many bytes from data on (at most len) stand for themselves inside a string: no quote, no
 * backslash, no control character. *ret_ascii: none of these is above 0x7f. */
size_t vms_json_plain_run(const char *data, size_t len, bool *ret_ascii);
