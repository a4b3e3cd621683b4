/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML documents of S3 that every store needs: a page of ListObjectsV2 and an error; those of
 * multipart uploads are in s3-xml-uploads.h. Pure functions on bytes from the network. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At the end of each element: path is "/ListBucketResult/Contents/Key". Sets *error to stop. */
typedef void (*VmsS3XmlFunc)(void *user, const char *path, const char *text, GError **error);

/* INVALID where text is not well-formed, or is nested without need; TRANSIENT where it ends too
 * early. So with all that follows. */
bool vms_s3_xml_read(const char *text, size_t len, VmsS3XmlFunc ended, void *user, GError **error);

typedef struct {
    char *key;
    uint64_t size;
} VmsS3Object;

typedef struct {
    GArray *objects; /* of VmsS3Object, in the server's order */
    bool truncated;  /* more follow */
} VmsS3Page;

/* INVALID where it is not a well-formed ListBucketResult, or is nested without need. Keys are
 * decoded where the document says that they are encoded. */
bool vms_s3_xml_page(const char *text, size_t len, VmsS3Page *ret_page, GError **error);
void vms_s3_xml_page_clear(VmsS3Page *page);

/* Strings are never NULL, printable, and cut to a length fit for a message. */
typedef struct {
    char *code, *message, *region;
} VmsS3Fault;

/* Empty strings where text is no S3 error document: proxies answer with anything. */
void vms_s3_xml_fault(const char *text, size_t len, VmsS3Fault *ret_fault);
void vms_s3_xml_fault_clear(VmsS3Fault *fault);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsS3Page, vms_s3_xml_page_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsS3Fault, vms_s3_xml_fault_clear)
