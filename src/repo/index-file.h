/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Index files: JSON that says which pack holds which blobs, and where. Pure. */
#pragma once

#include "repo/pack.h"

/* One pack. Return false with *error to stop. */
typedef bool (*VmsIndexFileFunc)(void *user, const VmsId *pack, const VmsPackBlob *blobs,
                                 size_t count, GError **error);

/* Reads one. INVALID for anything malformed or impossible (a blob beyond 4 GiB, an unknown type).
 */
bool vms_index_file_parse(const void *text, size_t len, VmsIndexFileFunc func, void *user,
                          GError **error);

/* The same in pieces. */
typedef struct VmsIndexParser VmsIndexParser;

VmsIndexParser *vms_index_parser_new(VmsIndexFileFunc func, void *user);
bool vms_index_parser_feed(VmsIndexParser *parser, const void *text, size_t len, GError **error);
bool vms_index_parser_finish(VmsIndexParser *parser, GError **error);
void vms_index_parser_free(VmsIndexParser *parser);

/* What one index file says. */
typedef struct {
    VmsId id;
    uint32_t first, count; /* in blobs */
} VmsIndexPack;

typedef struct {
    VmsId file;
    GArray *packs; /* of VmsIndexPack */
    GArray *blobs; /* of VmsPackBlob */
} VmsIndexListing;

VmsIndexListing *vms_index_listing_new(const VmsId *file);
/* A VmsIndexFileFunc whose user is the listing. */
bool vms_index_listing_add(void *user, const VmsId *pack, const VmsPackBlob *blobs, size_t count,
                           GError **error);
void vms_index_listing_free(VmsIndexListing *listing);

/* Writing: begin, pack for each, end. The text is in the GString. */
GString *vms_index_file_begin(void);
void vms_index_file_pack(GString *text, const VmsId *pack, const VmsPackBlob *blobs, size_t count);
void vms_index_file_end(GString *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndexParser, vms_index_parser_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsIndexListing, vms_index_listing_free)
