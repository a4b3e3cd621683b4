/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML documents of multipart uploads. Pure functions on bytes from the network. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The upload's id (transfer full). INVALID, also where it holds what cannot be signed alike by all
 * versions of curl. */
char *vms_s3_xml_upload_id(const char *text, size_t len, GError **error);

/* True for a whole CompleteMultipartUploadResult. */
bool vms_s3_xml_is_completed(const char *text, size_t len);

typedef struct {
    char *key, *id;
    int64_t begun_s; /* since 1970 */
} VmsS3Pending;

/* A page of ListMultipartUploads. */
typedef struct {
    GArray *uploads; /* of VmsS3Pending, in the server's order */
    bool truncated;
    char *next_key, *next_id; /* the next page begins after these; nullable */
} VmsS3Uploads;

/* INVALID. Keys are not decoded: ask without encoding-type. */
bool vms_s3_xml_uploads(const char *text, size_t len, VmsS3Uploads *ret_uploads, GError **error);
void vms_s3_xml_uploads_clear(VmsS3Uploads *uploads);

/* A page of ListParts: when the last part came (INT64_MIN: none), and after which number the next
 * page begins. INVALID. */
typedef struct {
    int64_t latest_s;
    bool truncated;
    unsigned next;
} VmsS3PartsPage;

bool vms_s3_xml_parts(const char *text, size_t len, VmsS3PartsPage *ret_page, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsS3Uploads, vms_s3_xml_uploads_clear)
