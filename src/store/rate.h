/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store around a store: puts no faster than a limit. */
#pragma once

#include "store/store.h"

/* Takes inner. On average: each object waits until those before it are paid for, and then goes at
 * whatever speed the inner store has. Not held up: locks, and puts without a cancellable. */
VmsStore *vms_rate_store_new(VmsStore *inner, uint64_t bytes_per_s);
