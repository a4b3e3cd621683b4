/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is kept of a reply beside its body. */
#pragma once

#include "store/http.h"

#include <curl/curl.h>

/* Status, length and headers of the last reply of a transfer that is done. */
void vms_http_reply_collect(VmsHttpReply *reply, CURL *easy);
