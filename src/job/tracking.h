/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which snapshot a disk's export may build upon, and how it is known what has changed since; or why
 * all of it must be read. Private to job/. */
#pragma once

#include "block/changes.h"
#include "job/record.h"
#include "repo/snapshot.h"

/* What is known when an export begins. */
typedef struct {
    const GPtrArray *records;   /* of VmsRecord*: all of the domain on this host */
    const char *repository;     /* its id */
    const GPtrArray *snapshots; /* of VmsRepoSnapshot*: all that it has */
} VmsTrackingScope;

typedef struct {
    VmsTracking method;
    unsigned layers;                 /* OVERLAY: how many were made since the parent */
    const char *bitmap;              /* BITMAP */
    const VmsRecord *parent;         /* of the scope; NULL with NONE */
    const VmsRepoSnapshot *snapshot; /* the same in the repository */
    const char *reason;              /* NONE: a code */
} VmsTrack;

/* Asks the files, not the repository's contents: those may still turn out to be unusable. Borrows
 * from all arguments. An image that cannot be asked is no error here, but "tracking-broken". */
bool vms_tracking_find(const VmsTrackingScope *scope, const VmsRecord *record,
                       const VmsRecordDisk *disk, GCancellable *cancellable, VmsTrack *ret_track,
                       GError **error);

/* What has changed since the parent of a track whose method is not NONE, from the image itself. */
bool vms_tracking_changes(const VmsTrack *track, const VmsRecordDisk *disk, VmsChangesFunc func,
                          void *user, GCancellable *cancellable, GError **error);
