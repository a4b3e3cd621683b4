/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Index files from the store, fetched and parsed several at a time. */
#pragma once

#include "repo/index-file.h"
#include "repo/object.h"

typedef struct {
    /* From any thread: false where the file need not be fetched any more. */
    bool (*wanted)(void *user, const VmsId *id);
    /* From the caller's thread, once for each file in no particular order. Takes listing; NULL
     * where the file was not wanted or has vanished. Return false with *error to stop. */
    bool (*take)(void *user, const VmsObjectEntry *entry, VmsIndexListing *listing, bool vanished,
                 GError **error);
    void *user;
} VmsIndexFetchCalls;

/* CORRUPT with the name of a file that is damaged. Memory: what the files in hand say, and twice
 * their sealed bytes; of these at most 16 MiB are in hand, or one file where that is longer. */
bool vms_index_fetch(VmsRepo *repo, const GArray *entries, const VmsIndexFetchCalls *calls,
                     GCancellable *cancellable, GError **error);
