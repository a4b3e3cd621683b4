/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread runs all transfers, so that connections are kept alive and shared whichever thread
 * asks. A caller queues its request, wakes the thread and waits on the request's own condition; the
 * request lives on the caller's stack until then. A cancelled caller marks its request and wakes
 * the thread, which takes the transfer out.
 *
 * Threads: callers; "vms-http", the only one that touches curl handles. Lock: VmsHttp.lock guards
 * the queue, the list of running requests, quit, and done and cancelled of each request. Nothing
 * else is locked while it is held. */
#include "store/http.h"

#include "base/error.h"
#include "store/http-error.h"
#include "store/http-probe.h"
#include "store/http-reply.h"

#include <curl/curl.h>
#include <signal.h>
#include <string.h>

#define MAX_ERROR_BODY 65536
#define LOCAL_TIMEOUT_S 5
#define MIN_BYTES_PER_SECOND 256L /* less than this, over some seconds, is a stall */

typedef struct {
    VmsHttp *http;
    const VmsHttpRequest *request;
    CURL *easy;
    struct curl_slist *headers;
    VmsHttpReply *reply;
    size_t sent;   /* bytes of the body */
    bool too_long; /* the reply's body passed max_body */
    CURLcode result;
    char detail[CURL_ERROR_SIZE];
    GCond changed;
    bool done, cancelled;
} Transfer;

struct VmsHttp {
    VmsHttpOptions options;
    char *ca_file;
    CURLM *multi;
    GThread *thread;
    GMutex lock;
    GQueue waiting;     /* of Transfer*, not yet with curl */
    GPtrArray *running; /* of Transfer* */
    bool quit;
    int answered; /* atomic bool: there was a reply, and not of a metadata service */
};

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    Transfer *transfer = user;
    GByteArray *body = transfer->reply->body;
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    bool is_error = status < 200 || status > 299;
    size_t room = (is_error ? MAX_ERROR_BODY : transfer->request->max_body) - body->len;
    size_t len = size * n;
    if (len > room && !is_error) {
        transfer->too_long = true;
        return 0;
    }
    g_byte_array_append(body, (const guint8 *)data, (guint)MIN(len, room));
    return len;
}

static size_t on_send(char *to, size_t size, size_t n, void *user)
{
    Transfer *transfer = user;
    size_t total = 0;
    const char *data =
        transfer->request->body ? g_bytes_get_data(transfer->request->body, &total) : NULL;
    size_t len = MIN(size * n, total - transfer->sent);
    if (len > 0)
        memcpy(to, data + transfer->sent, len);
    transfer->sent += len;
    return len;
}

/* curl sends again from the start when a kept-alive connection turns out to be closed. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
    Transfer *transfer = user;
    size_t total = transfer->request->body ? g_bytes_get_size(transfer->request->body) : 0;
    if (origin != SEEK_SET || offset < 0 || (size_t)offset > total)
        return CURL_SEEKFUNC_CANTSEEK;
    if (transfer->sent > 0)
        transfer->reply->resent = true;
    transfer->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static void set_method(Transfer *transfer)
{
    CURL *easy = transfer->easy;
    const VmsHttpRequest *request = transfer->request;
    bool posts = g_str_equal(request->method, "POST");
    if (posts || g_str_equal(request->method, "PUT")) {
        size_t len = request->body ? g_bytes_get_size(request->body) : 0;
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)len);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
        if (posts)
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "POST");
    } else if (g_str_equal(request->method, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (!g_str_equal(request->method, "GET")) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
    if (request->range)
        curl_easy_setopt(easy, CURLOPT_RANGE, request->range);
}

static void set_signature(CURL *easy, const VmsHttpSign *sign)
{
    curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, sign->scope);
    curl_easy_setopt(easy, CURLOPT_USERNAME, sign->access_key_id);
    curl_easy_setopt(easy, CURLOPT_PASSWORD, sign->secret_access_key);
}

static void set_limits(CURL *easy, const VmsHttp *http, const VmsHttpRequest *request)
{
    const VmsHttpOptions *options = &http->options;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)options->connect_timeout_s);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, MIN_BYTES_PER_SECOND);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)options->stall_timeout_s);
    if (request->local) {
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 1000L);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)LOCAL_TIMEOUT_S);
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    }
}

/* False where curl has no memory. */
static bool prepare(Transfer *transfer)
{
    const VmsHttpRequest *request = transfer->request;
    CURL *easy = transfer->easy = curl_easy_init();
    if (!easy)
        return false;
    for (const char *const *header = request->headers; header && *header; header++) {
        struct curl_slist *longer = curl_slist_append(transfer->headers, *header);
        if (!longer)
            return false;
        transfer->headers = longer;
    }
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "vmsnap/" VMS_VERSION);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    if (transfer->http->ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, transfer->http->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    set_limits(easy, transfer->http, request);
    set_method(transfer);
    if (request->sign)
        set_signature(easy, request->sign);
    return true;
}

/* Gives the transfer back to its caller, after which it must not be touched. */
static void finish(Transfer *transfer, CURLcode result)
{
    VmsHttp *http = transfer->http;
    if (transfer->easy && result == CURLE_OK)
        vms_http_reply_collect(transfer->reply, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    g_mutex_lock(&http->lock);
    g_ptr_array_remove_fast(http->running, transfer);
    transfer->result = result;
    transfer->done = true;
    g_cond_signal(&transfer->changed);
    g_mutex_unlock(&http->lock);
}

static void start_transfer(VmsHttp *http, Transfer *transfer)
{
    if (!prepare(transfer) || curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
        finish(transfer, CURLE_OUT_OF_MEMORY);
}

static void stop_transfer(VmsHttp *http, Transfer *transfer)
{
    curl_multi_remove_handle(http->multi, transfer->easy);
    finish(transfer, CURLE_ABORTED_BY_CALLBACK);
}

/* One transfer to start or to stop. False where there is none, and at the end of the thread. */
static bool next_change(VmsHttp *http, Transfer **ret_transfer, bool *ret_stop)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&http->lock);
    for (unsigned i = 0; i < http->running->len; i++) {
        *ret_transfer = g_ptr_array_index(http->running, i);
        *ret_stop = true;
        if ((*ret_transfer)->cancelled)
            return true;
    }
    if (http->running->len >= http->options.max_requests || http->waiting.length == 0)
        return false;
    *ret_transfer = g_queue_pop_head(&http->waiting);
    *ret_stop = false;
    g_ptr_array_add(http->running, *ret_transfer);
    return true;
}

static bool finished(VmsHttp *http)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&http->lock);
    return http->quit;
}

static void finish_all_done(VmsHttp *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        CURL *easy = message->easy_handle;
        Transfer *transfer = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(http->multi, easy);
        finish(transfer, result);
    }
}

static void *http_main(void *user)
{
    VmsHttp *http = user;
    /* curl leaves SIGPIPE alone with CURLOPT_NOSIGNAL; it comes to the thread that writes */
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
    while (!finished(http)) {
        Transfer *transfer;
        bool stop;
        while (next_change(http, &transfer, &stop)) {
            if (stop)
                stop_transfer(http, transfer);
            else
                start_transfer(http, transfer);
        }
        int running;
        curl_multi_perform(http->multi, &running);
        unsigned before = http->running->len; /* only this thread changes it */
        finish_all_done(http);
        if (http->running->len == before) /* else there may be room for a waiting one */
            curl_multi_poll(http->multi, NULL, 0, 60000, NULL);
    }
    return NULL;
}

VmsHttp *vms_http_new(const VmsHttpOptions *options)
{
    static gsize initialised;
    if (g_once_init_enter(&initialised)) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        g_once_init_leave(&initialised, 1);
    }
    VmsHttp *http = g_new0(VmsHttp, 1);
    http->options = *options;
    http->ca_file = g_strdup(options->ca_file);
    http->multi = curl_multi_init();
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)options->max_requests + 4);
    g_mutex_init(&http->lock);
    g_queue_init(&http->waiting);
    http->running = g_ptr_array_new();
    http->thread = g_thread_new("vms-http", http_main, http);
    return http;
}

void vms_http_free(VmsHttp *http)
{
    if (!http)
        return;
    g_mutex_lock(&http->lock);
    http->quit = true;
    g_mutex_unlock(&http->lock);
    curl_multi_wakeup(http->multi);
    g_thread_join(http->thread);
    curl_multi_cleanup(http->multi);
    g_ptr_array_unref(http->running);
    g_mutex_clear(&http->lock);
    g_free(http->ca_file);
    g_free(http);
}

static void on_cancelled(GCancellable *cancellable, void *user)
{
    Transfer *transfer = user;
    VmsHttp *http = transfer->http;
    g_mutex_lock(&http->lock);
    transfer->cancelled = true;
    if (g_queue_remove(&http->waiting, transfer)) {
        transfer->result = CURLE_ABORTED_BY_CALLBACK;
        transfer->done = true;
        g_cond_signal(&transfer->changed);
    }
    g_mutex_unlock(&http->lock);
    curl_multi_wakeup(http->multi);
}

static void run_transfer(VmsHttp *http, Transfer *transfer, GCancellable *cancellable)
{
    g_mutex_lock(&http->lock);
    g_queue_push_tail(&http->waiting, transfer);
    g_mutex_unlock(&http->lock);
    curl_multi_wakeup(http->multi);
    /* not under the lock: both may run on_cancelled or wait for it */
    gulong handler =
        cancellable ? g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), transfer, NULL)
                    : 0;
    g_mutex_lock(&http->lock);
    while (!transfer->done)
        g_cond_wait(&transfer->changed, &http->lock);
    g_mutex_unlock(&http->lock);
    g_cancellable_disconnect(cancellable, handler);
}

static bool fail_transfer(VmsHttp *http, const Transfer *transfer, GError **error)
{
    const char *url = transfer->request->url;
    if (transfer->result == CURLE_GOT_NOTHING && !g_atomic_int_get(&http->answered) &&
        vms_http_probe_tls(url))
        return vms_fail(error, VMS_ERROR_FAILED,
                        "%.*s speaks TLS: give it as https:// instead of http://",
                        (int)(strlen("http://") + strcspn(url + strlen("http://"), "/")), url);
    VmsHttpErrorContext context = {url, transfer->detail, http->ca_file,
                                   g_atomic_int_get(&http->answered)};
    return vms_http_error_set(error, transfer->result, &context);
}

bool vms_http_run(VmsHttp *http, const VmsHttpRequest *request, VmsHttpReply *ret_reply,
                  GCancellable *cancellable, GError **error)
{
    g_auto(VmsHttpReply) reply = {.body = g_byte_array_new()};
    Transfer transfer = {.http = http, .request = request, .reply = &reply};
    g_cond_init(&transfer.changed);
    run_transfer(http, &transfer, cancellable);
    g_cond_clear(&transfer.changed);
    if (transfer.cancelled && transfer.result != CURLE_OK)
        return vms_fail(error, VMS_ERROR_CANCELLED, "interrupted");
    if (transfer.too_long)
        return vms_fail(error, VMS_ERROR_FAILED, "the server sent more than the %zu bytes expected",
                        request->max_body);
    if (transfer.result != CURLE_OK)
        return fail_transfer(http, &transfer, error);
    if (!request->local)
        g_atomic_int_set(&http->answered, 1);
    *ret_reply = reply;
    memset(&reply, 0, sizeof reply);
    return true;
}
