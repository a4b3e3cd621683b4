/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects as files below a directory: the embedded default store. */
#pragma once

#include "store/store.h"

/* Object "data/3f/3fa9…" is the file path/data/3f/3fa9… (0600, directories 0700), which is restic's
 * layout of a local repository. create: makes path where it is missing. NOT_FOUND where the
 * directory is missing and create is false, INVALID where path is not a directory, AUTH. */
VmsStore *vms_dir_open(const char *path, bool create, GError **error);
