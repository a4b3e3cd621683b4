/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/http-error.h"

#include "base/error.h"

#include <string.h>

/* "https://host:9000" of a URL: what the operator can do something about. */
static char *server_of(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return g_strndup(url, (size_t)(host - url) + strcspn(host, "/?"));
}

static bool is_transient(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_UPLOAD_FAILED:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_AGAIN:
        return true;
    default:
        return false;
    }
}

/* A handshake that broke off may work next time; one that the other side cannot do never will. curl
 * has one code for both: OpenSSL's words tell them apart. */
static bool handshake_broke_off(const char *detail)
{
    static const char *const words[] = {"SYSCALL", "reset", "eof", "EOF", "timed out"};
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(detail, words[i]))
            return true;
    return false;
}

static bool set_tls(GError **error, const char *server, const char *detail, bool answered)
{
    if (answered || handshake_broke_off(detail))
        return vms_fail(error, VMS_ERROR_TRANSIENT, "%s: TLS handshake: %s", server, detail);
    if (strstr(detail, "wrong version number") || strstr(detail, "packet length too long") ||
        strstr(detail, "http request"))
        return vms_fail(error, VMS_ERROR_FAILED,
                        "%s does not speak TLS: is it http:// instead of https://? (%s)", server,
                        detail);
    return vms_fail(error, VMS_ERROR_FAILED, "%s: TLS handshake: %s", server, detail);
}

static bool is_no_http(CURLcode code)
{
    /* the first is what curl makes of an answer that has no HTTP header */
    return code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY;
}

bool vms_http_error_set(GError **error, CURLcode code, const VmsHttpErrorContext *context)
{
    g_autofree char *server = server_of(context->url);
    const char *detail = *context->detail ? context->detail : curl_easy_strerror(code);
    const char *ca_file = context->ca_file;
    if (is_transient(code) || (context->answered && is_no_http(code)))
        return vms_fail(error, VMS_ERROR_TRANSIENT, "%s: %s", server, detail);
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        return vms_fail(error, VMS_ERROR_AUTH,
                        "%s: its certificate is not trusted: %s. If the server has an authority of "
                        "its own, give that certificate as ca-file%s%s",
                        server, detail, ca_file ? "; now it is " : "", ca_file ? ca_file : "");
    case CURLE_SSL_CACERT_BADFILE:
        return vms_fail(error, VMS_ERROR_USAGE, "ca-file %s: cannot be used: %s",
                        ca_file ? ca_file : "(the system's)", detail);
    case CURLE_SSL_CONNECT_ERROR:
        return set_tls(error, server, detail, context->answered);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return vms_fail(error, VMS_ERROR_FAILED,
                        "%s does not speak HTTP: is it another port, or https:// instead of "
                        "http://? (%s)",
                        server, detail);
    case CURLE_URL_MALFORMAT:
        return vms_fail(error, VMS_ERROR_USAGE, "%s: not a usable address: %s", server, detail);
    default:
        return vms_fail(error, VMS_ERROR_FAILED, "%s: %s", server, detail);
    }
}
