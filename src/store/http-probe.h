/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds out why a server closes plain HTTP connections without a word. */
#pragma once

#include <stdbool.h>

/* True if a TLS handshake with the server of this http:// address succeeds, whoever it is; takes at
 * most five seconds. Nothing is sent afterwards. */
bool vms_http_probe_tls(const char *url);
