/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AWS's shared files: ~/.aws/credentials and ~/.aws/config. */
#pragma once

#include "base/secret.h"

#include <stdbool.h>

typedef struct {
    bool found;          /* there is such a section */
    char *access_key_id; /* nullable, as all of them */
    VmsSecret *secret_access_key;
    VmsSecret *session_token;
    char *region;
} VmsS3Profile;

/* Pure: adds to profile (which starts as zeroes) what section says; what is set already stays.
 * section is "default" or "NAME" in credentials, "profile NAME" in config. Unknown keys, nested
 * settings and comments are passed over. USAGE with the line number where a line is neither. */
bool vms_s3_profile_parse(const char *text, size_t len, const char *section, VmsS3Profile *profile,
                          GError **error);
void vms_s3_profile_clear(VmsS3Profile *profile);

/* Reads both files (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE or below HOME/.aws); missing ones
 * are empty. name NULL: AWS_PROFILE, else "default". */
bool vms_s3_profile_load(const char *name, VmsS3Profile *ret_profile, GError **error);

/* The name that vms_s3_profile_load takes for name. */
const char *vms_s3_profile_name(const char *name);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsS3Profile, vms_s3_profile_clear)
