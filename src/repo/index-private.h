/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What index.c and index-sync.c share. */
#pragma once

#include "base/progress.h"
#include "repo/index-db.h"

#include <sys/types.h>

struct VmsIndex {
    char *path;
    char *full;            /* nullable: the path before, where there was no room */
    bool told;             /* of that */
    VmsProgress *progress; /* borrowed, nullable */
    GMutex mutex;          /* guards what is below, and db */
    VmsIndexDb *db;        /* NULL only after a rebuild failed */
    ino_t inode;           /* of the file that db has open */
    unsigned generation;   /* counts rebuilds */
    bool complete;         /* false from a rebuild to the end of the next sync */
    bool fresh;            /* nothing in it is older than this process */
};

/* The mutex is held for all of these. */

/* False where a rebuild failed. */
bool vms_index_has_db(VmsIndex *index, GError **error);

/* Makes the cache anew, empty; why is for the log. */
bool vms_index_rebuild(VmsIndex *index, const char *why, GError **error);

/* After a call on db failed with local (taken): true where a rebuild repaired it, and the call is
 * worth repeating or a sync is due; else *error is set. */
bool vms_index_repaired(VmsIndex *index, GError *local, GError **error);
