/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Passwords and keys in files. Private to job/. */
#pragma once

#include "base/secret.h"

#include <stdbool.h>

/* The content of path without white space around it, as restic reads its password file. what is for
 * messages: "password-file". AUTH where others may read or change the file, or it is empty;
 * NOT_FOUND. */
VmsSecret *vms_secret_file_read(const char *path, const char *what, GError **error);
