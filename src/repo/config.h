/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The config file: version and identity of a repository. Pure. */
#pragma once

#include "repo/id.h"

/* The text of a new one, with a random id (transfer full). */
char *vms_config_build(VmsId *ret_id, GError **error);

/* UNSUPPORTED for any version but 2, CORRUPT. */
bool vms_config_parse(const char *text, size_t len, VmsId *ret_id, GError **error);
