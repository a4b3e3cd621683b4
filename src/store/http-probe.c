/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/http-probe.h"

#include <curl/curl.h>
#include <glib.h>
#include <string.h>

bool vms_http_probe_tls(const char *url)
{
    if (!g_str_has_prefix(url, "http://"))
        return false;
    g_autofree char *secure = g_strconcat("https://", url + strlen("http://"), NULL);
    CURL *easy = curl_easy_init();
    if (!easy)
        return false;
    curl_easy_setopt(easy, CURLOPT_URL, secure);
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L); /* the question is only whether it is TLS */
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, 5L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bool is_tls = curl_easy_perform(easy) == CURLE_OK;
    curl_easy_cleanup(easy);
    return is_tls;
}
