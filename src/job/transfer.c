/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/transfer.h"

#include "base/error.h"
#include "base/text.h"
#include "job/pipeline.h"

#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 256
#define MIN_CHUNK (128u << 10)
#define MAX_CHUNK (4u << 20)
#define MIN_LIMIT 1024 /* below it one object takes hours: rather a missing suffix */

void vms_transfer_init(VmsTransfer *transfer)
{
    *transfer = (VmsTransfer){.compression = VMS_COMPRESSION_AUTO, .chunk_size = VMS_CHUNK_SIZE};
}

static bool set_limit(const char *value, uint64_t *ret_limit, GError **error)
{
    if (vms_text_parse_size(value, ret_limit, NULL) && *ret_limit >= MIN_LIMIT)
        return true;
    return vms_fail(error, VMS_ERROR_USAGE,
                    "\"%.40s\" is not a number of bytes per second like 512K or 20M, from 1K",
                    value);
}

static bool set_compression(const char *value, VmsCompression *ret_compression, GError **error)
{
    static const char *const names[] = {[VMS_COMPRESSION_AUTO] = "auto",
                                        [VMS_COMPRESSION_OFF] = "off",
                                        [VMS_COMPRESSION_MAX] = "max"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(value, names[i])) {
            *ret_compression = (VmsCompression)i;
            return true;
        }
    }
    return vms_fail(error, VMS_ERROR_USAGE, "\"%.40s\" is not one of auto, off, max", value);
}

static bool set_threads(const char *value, unsigned *ret_threads, GError **error)
{
    uint64_t number = 0;
    if (!g_ascii_string_to_unsigned(value, 10, 1, MAX_THREADS, &number, NULL))
        return vms_fail(error, VMS_ERROR_USAGE, "\"%.40s\" is not a number from 1 to %d", value,
                        MAX_THREADS);
    *ret_threads = (unsigned)number;
    return true;
}

static bool set_chunk_size(const char *value, uint64_t *ret_size, GError **error)
{
    uint64_t size = 0;
    if (!vms_text_parse_size(value, &size, NULL) || size < MIN_CHUNK || size > MAX_CHUNK ||
        (size & (size - 1)) != 0)
        return vms_fail(error, VMS_ERROR_USAGE,
                        "\"%.40s\" is not one of 128K, 256K, 512K, 1M, 2M, 4M", value);
    *ret_size = size;
    return true;
}

bool vms_transfer_set(VmsTransfer *transfer, const char *name, const char *value, GError **error)
{
    if (g_str_equal(name, "limit-upload"))
        return set_limit(value, &transfer->limit_upload, error);
    if (g_str_equal(name, "limit-read"))
        return set_limit(value, &transfer->limit_read, error);
    if (g_str_equal(name, "compression"))
        return set_compression(value, &transfer->compression, error);
    if (g_str_equal(name, "threads"))
        return set_threads(value, &transfer->threads, error);
    g_assert(g_str_equal(name, "chunk-size"));
    return set_chunk_size(value, &transfer->chunk_size, error);
}
