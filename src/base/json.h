/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading small JSON documents with checked accessors. Large ones (content lists, indexes) go
 * through base/json-stream.h. The only place that touches json-glib. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_JSON_MAX_SIZE (64u << 20) /* bytes; larger documents are INVALID */
#define VMS_JSON_MAX_DEPTH 64
#define VMS_JSON_MAX_VALUES 1000000u /* in one document: some hundred bytes of memory each */

typedef struct VmsJson VmsJson; /* a parsed document or a place in it; knows its path */

/* Parses len bytes of UTF-8 JSON. INVALID with the position if malformed, too large or too deep.
 * Free the root; places inside it are owned by it. */
VmsJson *vms_json_parse(const char *text, size_t len, GError **error);
void vms_json_free(VmsJson *root);

/* Members of an object. INVALID naming the path ("disks[0].size") if the member is missing or of
 * another type. Strings and places belong to the root. */
bool vms_json_string(VmsJson *object, const char *member, const char **ret_text, GError **error);
bool vms_json_uint64(VmsJson *object, const char *member, uint64_t *ret_value, GError **error);
bool vms_json_bool(VmsJson *object, const char *member, bool *ret_value, GError **error);
bool vms_json_object(VmsJson *object, const char *member, VmsJson **ret_object, GError **error);
bool vms_json_array(VmsJson *object, const char *member, VmsJson **ret_array, GError **error);

/* True where the member exists and is not null: for optional members. */
bool vms_json_has(VmsJson *object, const char *member);

/* Elements of an array. */
size_t vms_json_length(VmsJson *array);
bool vms_json_element_string(VmsJson *array, size_t at, const char **ret_text, GError **error);
bool vms_json_element_object(VmsJson *array, size_t at, VmsJson **ret_object, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsJson, vms_json_free)
