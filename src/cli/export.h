/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options that export and backup share. */
#pragma once

#include "job/config.h"

#define VMS_EXPORT_TO_HELP "repository: configured name, URL or path (default: the only configured)"
#define VMS_EXPORT_KEEP_HELP "do not merge the overlays back afterwards"

/* --limit-upload, --limit-read, --compression, --threads, --chunk-size. */
extern const GOptionEntry vms_transfer_options[];

/* As configured, and as these options say. USAGE. */
bool vms_transfer_read(const VmsConfig *config, VmsTransfer *ret_transfer, GError **error);
