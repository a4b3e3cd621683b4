/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/secret.h"

#include <string.h>

VmsSecret *vms_secret_new(const void *data, size_t len)
{
    VmsSecret *secret = g_new0(VmsSecret, 1);
    secret->data = g_malloc0(len + 1);
    if (len > 0)
        memcpy(secret->data, data, len);
    secret->len = len;
    return secret;
}

VmsSecret *vms_secret_new_string(const char *text)
{
    return vms_secret_new(text, strlen(text));
}

VmsSecret *vms_secret_copy(const VmsSecret *secret)
{
    return vms_secret_new(secret->data, secret->len);
}

void vms_secret_free(VmsSecret *secret)
{
    if (!secret)
        return;
    vms_secret_wipe(secret->data, secret->len);
    g_free(secret->data);
    g_free(secret);
}

void vms_secret_wipe(void *data, size_t len)
{
    explicit_bzero(data, len);
}
