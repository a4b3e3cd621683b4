/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A place of plain images: a directory or bucket that has at its root vmsnap-images.json
 * (schemas/images.v1.json). It is no repository, and a repository is no such place. */
#pragma once

#include "store/store.h"

#define VMS_PLAIN_MARK "vmsnap-images.json"

/* *ret_id: 64 hex (transfer full), NULL where the store is no such place. UNSUPPORTED for one of a
 * newer version, INVALID for a damaged mark. */
bool vms_plain_find(VmsStore *store, char **ret_id, GCancellable *cancellable, GError **error);

/* The same, and makes an empty store one. REFUSED where it holds a repository, or anything else. */
char *vms_plain_create(VmsStore *store, GCancellable *cancellable, GError **error);
