/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"
#include "cli/export.h"
#include "job/growth.h"

static struct {
    char *growth, *format, *limit_upload, *limit_read, *compression, *threads, *chunk_size;
} words;

const GOptionEntry vms_transfer_options[] = {
    {"growth", 0, 0, G_OPTION_ARG_FILENAME, &words.growth,
     "what the overlays may take meanwhile: auto (default), off, a size", "SIZE"},
    {"format", 0, 0, G_OPTION_ARG_FILENAME, &words.format,
     "restic (default): a repository; qcow2: plain images", "FORMAT"},
    {"limit-upload", 0, 0, G_OPTION_ARG_FILENAME, &words.limit_upload,
     "bytes per second to the repository, on average", "RATE"},
    {"limit-read", 0, 0, G_OPTION_ARG_FILENAME, &words.limit_read,
     "bytes per second from the frozen images", "RATE"},
    {"compression", 0, 0, G_OPTION_ARG_FILENAME, &words.compression, "auto (default), off, max",
     "LEVEL"},
    {"threads", 0, 0, G_OPTION_ARG_FILENAME, &words.threads,
     "that hash and compress (default: one per processor)", "N"},
    {"chunk-size", 0, 0, G_OPTION_ARG_FILENAME, &words.chunk_size,
     "disks are cut at multiples of it: 128K to 4M (default 1M)", "SIZE"},
    G_OPTION_ENTRY_NULL,
};

static bool read_format(VmsFormat *ret_format, GError **error)
{
    const char *wrong = words.compression  ? "--compression"
                        : words.threads    ? "--threads"
                        : words.chunk_size ? "--chunk-size"
                                           : NULL;
    *ret_format = VMS_FORMAT_RESTIC;
    if (words.format && !vms_format_parse(words.format, ret_format))
        return vms_fail(error, VMS_ERROR_USAGE, "--format=%.40s is not one of restic, qcow2",
                        words.format);
    if (*ret_format == VMS_FORMAT_RESTIC || !wrong)
        return true;
    return vms_fail(error, VMS_ERROR_USAGE,
                    "%s is for repositories: plain images are neither compressed nor cut into "
                    "chunks",
                    wrong);
}

bool vms_transfer_read(VmsContext *context, VmsTransfer *ret_transfer, VmsFormat *ret_format,
                       GError **error)
{
    const struct {
        const char *name, *value;
    } given[] = {
        {"limit-upload", words.limit_upload}, {"limit-read", words.limit_read},
        {"compression", words.compression},   {"threads", words.threads},
        {"chunk-size", words.chunk_size},
    };
    if (words.growth && !vms_growth_parse(words.growth, &context->growth, error))
        return vms_prefix(error, "--growth");
    *ret_transfer = context->config->transfer;
    for (size_t i = 0; i < G_N_ELEMENTS(given); i++)
        if (given[i].value && !vms_transfer_set(ret_transfer, given[i].name, given[i].value, error))
            return vms_prefix(error, "--%s", given[i].name);
    return read_format(ret_format, error);
}
