/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options that export and backup share. */
#pragma once

#include "job/context.h"
#include "job/record.h"

#define VMS_EXPORT_TO_HELP "where to: configured name, URL or path (default: the only configured)"
#define VMS_EXPORT_KEEP_HELP "do not merge the overlays back afterwards"

/* --growth, --format, --limit-upload, --limit-read, --compression, --threads, --chunk-size. */
extern const GOptionEntry vms_transfer_options[];

/* As configured, and as these options say; growth is set in the context. USAGE, also where they do
 * not go with the format. */
bool vms_transfer_read(VmsContext *context, VmsTransfer *ret_transfer, VmsFormat *ret_format,
                       GError **error);
