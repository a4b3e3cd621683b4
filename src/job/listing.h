/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What snapshots there are: on this host (catalog) and in a repository. */
#pragma once

#include "job/context.h"
#include "job/manifest.h"
#include "job/record.h"

/* Of one domain (name; NULL: all), oldest first: GPtrArray of VmsRecord*. all: also done, failed
 * and abandoned ones. Needs no libvirt. */
GPtrArray *vms_listing_local(VmsContext *context, const char *domain, bool all, GError **error);

/* One by id prefix. NOT_FOUND; INVALID if ambiguous. */
VmsRecord *vms_listing_find(VmsContext *context, const char *snapshot, GError **error);

/* Snapshots in a repository made by vmsnap, or in a place of plain images, oldest first: GPtrArray
 * of VmsManifest*. domain nullable. */
GPtrArray *vms_listing_repository(VmsContext *context, const char *repository, const char *domain,
                                  GError **error);
VmsManifest *vms_listing_find_repository(VmsContext *context, const char *repository,
                                         const char *snapshot, GError **error);
