/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names as tree blobs hold them: restic writes them as the inside of a Go string literal (to carry
 * bytes that are not UTF-8), and then as JSON. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Appends name as a whole JSON string, quotes included. */
void vms_node_name_append(GString *json, const char *name);

/* From the unescaped JSON string to the name. INVALID: a malformed escape, an empty name, a slash
 * or NUL in it, or "." and "..". */
bool vms_node_name_parse(const char *quoted, char **ret_name, GError **error);

/* False for what vms_node_name_parse refuses. */
bool vms_node_name_valid(const char *name);
