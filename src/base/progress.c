/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/progress.h"

#include <glib.h>
#include <stdarg.h>

void vms_progress_update(VmsProgress *progress, const char *phase, const char *item, uint64_t done,
                         uint64_t total)
{
    if (!progress)
        return;
    VmsProgressState state = {phase, item, done, total};
    progress->update(progress, &state);
}

void vms_progress_message(VmsProgress *progress, const char *format, ...)
{
    if (!progress)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    progress->message(progress, text);
}
