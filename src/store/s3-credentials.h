/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the keys come from, in AWS's order: given, the environment, the shared credentials file, a
 * container's endpoint, a machine's metadata service (IMDSv2). Those that expire are fetched anew
 * in time. */
#pragma once

#include "base/secret.h"
#include "store/http.h"
#include "store/s3.h"

#include <stdint.h>

typedef struct VmsS3Credentials VmsS3Credentials;

typedef struct {
    char *access_key_id;
    VmsSecret *secret_access_key;
    VmsSecret *session_token; /* nullable */
    int64_t expires_us;       /* since 1970; 0: never */
} VmsS3Keys;

void vms_s3_keys_free(VmsS3Keys *keys);

/* Copies what it needs of options. http is borrowed. */
VmsS3Credentials *vms_s3_credentials_new(const VmsS3Options *options, VmsHttp *http);
void vms_s3_credentials_free(VmsS3Credentials *credentials);

/* The keys of now (transfer full); asks again what is about to expire. AUTH says where it has
 * looked; USAGE for a malformed file; TRANSIENT where a service that is there does not answer. Safe
 * from several threads. */
VmsS3Keys *vms_s3_credentials_get(VmsS3Credentials *credentials, GCancellable *cancellable,
                                  GError **error);

/* The server has refused these: looks again where they came from. *ret_others: there are other keys
 * now, which the next get gives. An error only where the answer may be another one in a moment
 * (TRANSIENT) or the call was cancelled. */
bool vms_s3_credentials_renew(VmsS3Credentials *credentials, const VmsS3Keys *refused,
                              bool *ret_others, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsS3Credentials, vms_s3_credentials_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsS3Keys, vms_s3_keys_free)
