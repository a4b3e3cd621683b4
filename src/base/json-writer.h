/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing JSON as a stream: commas, escapes and nesting are its business. RFC 8259, UTF-8; invalid
 * UTF-8 in strings becomes U+FFFD. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VmsJsonWriter VmsJsonWriter;

/* pretty: two blanks of indentation and a final newline. */
VmsJsonWriter *vms_json_writer_new(bool pretty);
void vms_json_writer_free(VmsJsonWriter *writer);

void vms_json_writer_begin_object(VmsJsonWriter *writer);
void vms_json_writer_end_object(VmsJsonWriter *writer);
void vms_json_writer_begin_array(VmsJsonWriter *writer);
void vms_json_writer_end_array(VmsJsonWriter *writer);
void vms_json_writer_key(VmsJsonWriter *writer, const char *key);
void vms_json_writer_string(VmsJsonWriter *writer, const char *text); /* NULL writes null */
void vms_json_writer_uint64(VmsJsonWriter *writer, uint64_t value);
void vms_json_writer_int64(VmsJsonWriter *writer, int64_t value);
void vms_json_writer_double(VmsJsonWriter *writer, double value);
void vms_json_writer_bool(VmsJsonWriter *writer, bool value);
void vms_json_writer_null(VmsJsonWriter *writer);

/* Key and value in one call, for objects. */
void vms_json_writer_member_string(VmsJsonWriter *writer, const char *key, const char *text);
void vms_json_writer_member_uint64(VmsJsonWriter *writer, const char *key, uint64_t value);
void vms_json_writer_member_bool(VmsJsonWriter *writer, const char *key, bool value);

/* Takes what has been written so far (not NUL-counted) and empties the buffer, for streaming. */
GString *vms_json_writer_take(VmsJsonWriter *writer);

/* Ends the document: the text, NUL-terminated (transfer full). */
char *vms_json_writer_finish(VmsJsonWriter *writer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsJsonWriter, vms_json_writer_free)
