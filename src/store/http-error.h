/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a failed transfer of curl means to the caller. Pure. */
#pragma once

#include <curl/curl.h>
#include <glib.h>
#include <stdbool.h>

/* detail is curl's error buffer, ca_file nullable. Sets *error, returns false. */
bool vms_http_error_set(GError **error, CURLcode code, const char *url, const char *detail,
                        const char *ca_file);
