/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a failed transfer of curl means to the caller. Pure. */
#pragma once

#include <curl/curl.h>
#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *url;
    const char *detail;  /* curl's error buffer */
    const char *ca_file; /* nullable */
    bool answered; /* the server has: bytes that make no sense are no wrong address any more */
} VmsHttpErrorContext;

/* Sets *error, returns false. */
bool vms_http_error_set(GError **error, CURLcode code, const VmsHttpErrorContext *context);
