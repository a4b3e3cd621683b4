/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A repository as vms_repo_init() makes it, but for the password: its key is derived in no time,
 * where every command that opens the repository would otherwise take half a second of processor
 * time for it. For tests that make hundreds of them. */
#pragma once

#include "base/secret.h"
#include "repo/id.h"
#include "store/store.h"

bool quick_repo_init(VmsStore *store, const VmsSecret *password, VmsId *ret_id, GError **error);
