/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGINT, SIGTERM and SIGHUP as cancellation. */
#pragma once

#include "base/progress.h"

#include <gio/gio.h>
#include <stdbool.h>

/* Call once, before other threads. The first signal cancels cancellable and says so on progress
 * (nullable); further ones only say that the undoing goes on. Both are borrowed for the life of the
 * process. */
bool vms_signals_start(GCancellable *cancellable, VmsProgress *progress, GError **error);
