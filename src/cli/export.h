/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The option texts that export and backup share. */
#pragma once

#define VMS_EXPORT_TO_HELP "repository: configured name, URL or path (default: the only configured)"
#define VMS_EXPORT_KEEP_HELP "do not merge the overlays back afterwards"
