/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In one piece and in many: the same packs, or the same refusal. */
#include "repo/index-file.h"
#include "fuzz.h"

static bool read_in_pieces(const uint8_t *data, size_t len, VmsIndexListing *listing,
                           GError **error)
{
    g_autoptr(VmsIndexParser) parser = vms_index_parser_new(vms_index_listing_add, listing);
    for (size_t at = 0; at < len; at += 7)
        if (!vms_index_parser_feed(parser, data + at, MIN(7, len - at), error))
            return false;
    return vms_index_parser_finish(parser, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const VmsId file;
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsIndexListing) whole = vms_index_listing_new(&file);
    g_autoptr(VmsIndexListing) pieces = vms_index_listing_new(&file);
    bool ok =
        fuzz_settled(vms_index_file_parse(data, len, vms_index_listing_add, whole, &error), &error);
    bool ok_in_pieces = fuzz_settled(read_in_pieces(data, len, pieces, &error), &error);
    g_assert_true(ok == ok_in_pieces);
    g_assert_true(!ok || (whole->packs->len == pieces->packs->len &&
                          whole->blobs->len == pieces->blobs->len));
    return 0;
}
