/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options that create, check and backup share. */
#pragma once

#include "cli/command.h"
#include "job/create.h"

typedef struct {
    char *memory, *quiesce;
    int freeze_deadline;
} VmsCreateWords;

/* USAGE. */
bool vms_create_read(const VmsCreateWords *words, VmsCreateOptions *ret_options, GError **error);
