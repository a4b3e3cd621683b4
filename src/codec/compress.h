/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zstandard (RFC 8878), one-shot and in pieces, with every output bounded. Thread-safe: the
 * contexts belong to the calling thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMS_COMPRESS_LEVEL_FAST 1
#define VMS_COMPRESS_LEVEL_AUTO 3
#define VMS_COMPRESS_LEVEL_MAX 15

/* The most bytes that len bytes can become. */
size_t vms_compress_bound(size_t len);

/* One frame. capacity is at least vms_compress_bound(len). FAILED. */
bool vms_compress(int level, const void *data, size_t len, void *out, size_t capacity,
                  size_t *ret_len, GError **error);

/* Decompresses to exactly out_len bytes. CORRUPT: malformed, or more or fewer. */
bool vms_compress_expand(const void *data, size_t len, void *out, size_t out_len, GError **error);

/* Decompresses what does not tell its size, to at most max bytes: more is CORRUPT, and is noticed
 * before memory for it is taken. */
GBytes *vms_compress_expand_bounded(const void *data, size_t len, size_t max, GError **error);

/* Receives a piece of output; may change the bytes. Return false with *error to stop. */
typedef bool (*VmsCompressFunc)(void *user, uint8_t *data, size_t len, GError **error);

typedef struct VmsCompressStream VmsCompressStream;

VmsCompressStream *vms_compress_stream_new(int level, VmsCompressFunc func, void *user);
bool vms_compress_stream_feed(VmsCompressStream *stream, const void *data, size_t len,
                              GError **error);
bool vms_compress_stream_finish(VmsCompressStream *stream, GError **error);
void vms_compress_stream_free(VmsCompressStream *stream);

typedef struct VmsExpandStream VmsExpandStream;

/* max: bytes of output, more is CORRUPT. */
VmsExpandStream *vms_expand_stream_new(uint64_t max, VmsCompressFunc func, void *user);
bool vms_expand_stream_feed(VmsExpandStream *stream, const void *data, size_t len, GError **error);
/* CORRUPT unless the last frame is complete. */
bool vms_expand_stream_finish(VmsExpandStream *stream, GError **error);
void vms_expand_stream_free(VmsExpandStream *stream);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsCompressStream, vms_compress_stream_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsExpandStream, vms_expand_stream_free)
