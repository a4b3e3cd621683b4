/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading JSON of any length in pieces, as events: content lists of large disks, index files. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct VmsJsonStream VmsJsonStream;

typedef enum {
    VMS_JSON_BEGIN_OBJECT,
    VMS_JSON_END_OBJECT,
    VMS_JSON_BEGIN_ARRAY,
    VMS_JSON_END_ARRAY,
    VMS_JSON_KEY,    /* text: the key, unescaped */
    VMS_JSON_STRING, /* text: the value, unescaped */
    VMS_JSON_NUMBER, /* text: as written */
    VMS_JSON_TRUE,
    VMS_JSON_FALSE,
    VMS_JSON_NULL,
} VmsJsonEvent;

/* text is NUL-terminated and lives for the call; len does not count the NUL. Return false with
 * *error to stop. */
typedef bool (*VmsJsonEventFunc)(void *user, VmsJsonEvent event, const char *text, size_t len,
                                 GError **error);

VmsJsonStream *vms_json_stream_new(VmsJsonEventFunc func, void *user);
void vms_json_stream_free(VmsJsonStream *stream);

/* Any split of the document into pieces gives the same events. INVALID with the byte position if
 * malformed, deeper than VMS_JSON_MAX_DEPTH or with a string longer than 1 MiB. */
bool vms_json_stream_feed(VmsJsonStream *stream, const void *data, size_t len, GError **error);

/* INVALID unless exactly one whole value was fed. */
bool vms_json_stream_finish(VmsJsonStream *stream, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsJsonStream, vms_json_stream_free)
