/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A zstd context takes a megabyte and some time to make, and may be used by one thread at a time:
 * so each thread keeps one of its own (GPrivate), freed when the thread ends. Streams have their
 * own. */
#include "codec/compress.h"

#include "base/error.h"

#include <zstd.h>

/* A frame may ask for a window as large as its content: 64 MiB is what restic's strongest level and
 * `zstd --ultra` stay below. */
#define MAX_WINDOW_LOG 26
#define PIECE (128u << 10)

struct VmsCompressStream {
    ZSTD_CCtx *context;
    VmsCompressFunc func;
    void *user;
    uint8_t *out; /* PIECE bytes */
};

struct VmsExpandStream {
    ZSTD_DCtx *context;
    VmsCompressFunc func;
    void *user;
    uint8_t *out;  /* PIECE bytes */
    uint64_t left; /* bytes of output still allowed */
    bool in_frame; /* a frame has begun and not ended */
};

static void free_compressor(void *context)
{
    ZSTD_freeCCtx(context);
}

static void free_expander(void *context)
{
    ZSTD_freeDCtx(context);
}

static GPrivate compressor_key = G_PRIVATE_INIT(free_compressor);
static GPrivate expander_key = G_PRIVATE_INIT(free_expander);

static bool zstd_failed(GError **error, VmsErrorCode code, size_t result)
{
    return vms_fail(error, code, "zstd: %s", ZSTD_getErrorName(result));
}

static ZSTD_CCtx *new_compressor(void)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();

    if (context == NULL)
        g_error("out of memory for a zstd context");
    return context;
}

static ZSTD_DCtx *new_expander(void)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();

    if (context == NULL)
        g_error("out of memory for a zstd context");
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, MAX_WINDOW_LOG);
    return context;
}

size_t vms_compress_bound(size_t len)
{
    return ZSTD_compressBound(len);
}

bool vms_compress(int level, const void *data, size_t len, void *out, size_t capacity,
                  size_t *ret_len, GError **error)
{
    ZSTD_CCtx *context = g_private_get(&compressor_key);

    /* The tables of the strong levels grow with the window, to a hundred MiB a thread: a MiB of
     * it keeps them small. */
    if (context == NULL) {
        context = new_compressor();
        g_private_set(&compressor_key, context);
    }
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, level > VMS_COMPRESS_LEVEL_AUTO ? 20 : 0);
    size_t result = ZSTD_compress2(context, out, capacity, data, len);
    if (ZSTD_isError(result))
        return zstd_failed(error, VMS_ERROR_FAILED, result);
    *ret_len = result;
    return true;
}

bool vms_compress_expand(const void *data, size_t len, void *out, size_t out_len, GError **error)
{
    ZSTD_DCtx *context = g_private_get(&expander_key);

    if (context == NULL) {
        context = new_expander();
        g_private_set(&expander_key, context);
    }
    size_t result = ZSTD_decompressDCtx(context, out, out_len, data, len);
    if (ZSTD_isError(result))
        return zstd_failed(error, VMS_ERROR_CORRUPT, result);
    if (result != out_len) {
        return vms_fail(error, VMS_ERROR_CORRUPT, "decompresses to %zu bytes where %zu were stored",
                        result, out_len);
    }
    return true;
}

static bool append_piece(void *user, uint8_t *data, size_t len, GError **error)
{
    GByteArray *array = user;

    g_byte_array_append(array, data, (guint)len);
    return true;
}

GBytes *vms_compress_expand_bounded(const void *data, size_t len, size_t max, GError **error)
{
    g_autoptr(GByteArray) array = g_byte_array_new();
    g_autoptr(VmsExpandStream) stream = vms_expand_stream_new(max, append_piece, array);

    if (!vms_expand_stream_feed(stream, data, len, error) ||
        !vms_expand_stream_finish(stream, error))
        return NULL;
    return g_byte_array_free_to_bytes(g_steal_pointer(&array));
}

VmsCompressStream *vms_compress_stream_new(int level, VmsCompressFunc func, void *user)
{
    VmsCompressStream *stream = g_new0(VmsCompressStream, 1);

    stream->context = new_compressor();
    ZSTD_CCtx_setParameter(stream->context, ZSTD_c_compressionLevel, level);
    /* Beside whoever feeds it; where the library has no threads, it does not. */
    ZSTD_CCtx_setParameter(stream->context, ZSTD_c_nbWorkers, 1);
    stream->func = func;
    stream->user = user;
    stream->out = g_malloc(PIECE);
    return stream;
}

void vms_compress_stream_free(VmsCompressStream *stream)
{
    if (stream != NULL) {
        ZSTD_freeCCtx(stream->context);
        g_free(stream->out);
        g_free(stream);
    }
}

static bool run_compressor(VmsCompressStream *stream, const void *data, size_t len,
                           ZSTD_EndDirective directive, GError **error)
{
    ZSTD_inBuffer in = {.src = data, .size = len};

    for (;;) {
        ZSTD_outBuffer out = {.dst = stream->out, .size = PIECE};
        size_t left = ZSTD_compressStream2(stream->context, &out, &in, directive);

        if (ZSTD_isError(left))
            return zstd_failed(error, VMS_ERROR_FAILED, left);
        if (out.pos > 0 && !stream->func(stream->user, stream->out, out.pos, error))
            return false;
        if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size)
            return true;
    }
}

bool vms_compress_stream_feed(VmsCompressStream *stream, const void *data, size_t len,
                              GError **error)
{
    return len == 0 || run_compressor(stream, data, len, ZSTD_e_continue, error);
}

bool vms_compress_stream_finish(VmsCompressStream *stream, GError **error)
{
    return run_compressor(stream, NULL, 0, ZSTD_e_end, error);
}

VmsExpandStream *vms_expand_stream_new(uint64_t max, VmsCompressFunc func, void *user)
{
    VmsExpandStream *stream = g_new0(VmsExpandStream, 1);

    stream->context = new_expander();
    stream->func = func;
    stream->user = user;
    stream->out = g_malloc(PIECE);
    stream->left = max;
    stream->in_frame = true; /* nothing at all is not a frame either */
    return stream;
}

void vms_expand_stream_free(VmsExpandStream *stream)
{
    if (stream != NULL) {
        ZSTD_freeDCtx(stream->context);
        g_free(stream->out);
        g_free(stream);
    }
}

bool vms_expand_stream_feed(VmsExpandStream *stream, const void *data, size_t len, GError **error)
{
    ZSTD_inBuffer in = {.src = data, .size = len};
    bool full = false; /* the output buffer was filled: more may be waiting inside the context */

    while (in.pos < in.size || full) {
        ZSTD_outBuffer out = {.dst = stream->out, .size = PIECE};
        size_t result = ZSTD_decompressStream(stream->context, &out, &in);

        if (ZSTD_isError(result))
            return zstd_failed(error, VMS_ERROR_CORRUPT, result);
        if (out.pos > stream->left)
            return vms_fail(error, VMS_ERROR_CORRUPT, "decompresses to more than is allowed");
        stream->left -= out.pos;
        stream->in_frame = result != 0;
        full = out.pos == out.size && result != 0;
        if (out.pos > 0 && !stream->func(stream->user, stream->out, out.pos, error))
            return false;
    }
    return true;
}

bool vms_expand_stream_finish(VmsExpandStream *stream, GError **error)
{
    if (stream->in_frame)
        return vms_fail(error, VMS_ERROR_CORRUPT, "compressed data ends early");
    return true;
}
