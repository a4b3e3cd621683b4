/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects in memory, for tests. */
#pragma once

#include "store/store.h"

VmsStore *vms_mem_new(void);
