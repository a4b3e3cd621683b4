/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/inputs.h"

#include "base/error.h"
#include "base/spool.h"
#include "block/ram-image.h"
#include "block/raw-image.h"
#include "block/source.h"
#include "virt/save-image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    VmsInput input;    /* first: the pointers are cast */
    VmsServer *server; /* disks */
    VmsSource *source;
    const VmsChunkRuns *runs; /* of a disk of which only these are wanted, else NULL */
    int fd;                   /* files, and disks that can be read as one; else -1 */
    VmsRamImage *ram_image;   /* memory in order */
    int index_fd;             /* of ram_image, else -1 */
} Input;

static Input *input_new(void)
{
    Input *self = g_new0(Input, 1);
    self->fd = self->index_fd = -1;
    return self;
}

static bool file_read(VmsInput *input, uint64_t offset, void *buffer, size_t length, GError **error)
{
    uint8_t *at = buffer;
    while (length > 0) {
        ssize_t n = pread(((Input *)input)->fd, at, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vms_fail_errno(error, errno, "read at %" G_GUINT64_FORMAT, offset);
        if (n == 0)
            return vms_fail(error, VMS_ERROR_CORRUPT, "the file has become shorter");
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

static void file_announce(VmsInput *input, uint64_t offset, size_t length)
{
    posix_fadvise(((Input *)input)->fd, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
}

static bool disk_extents(VmsInput *input, VmsInputExtentFunc func, void *user,
                         GCancellable *cancellable, GError **error)
{
    Input *self = (Input *)input;
    return vms_source_extents(self->source, 0, input->size, func, user, cancellable, error);
}

static bool disk_read(VmsInput *input, uint64_t offset, void *buffer, size_t length, GError **error)
{
    Input *self = (Input *)input;
    return self->fd >= 0 ? file_read(input, offset, buffer, length, error)
                         : vms_source_read(self->source, offset, buffer, length, error);
}

static bool disk_start(VmsInput *input, uint64_t offset, void *buffer, size_t length, unsigned most,
                       VmsInputDoneFunc done, void *user, GError **error)
{
    return vms_source_read_start(((Input *)input)->source, offset, buffer, length, most, done, user,
                                 error);
}

static bool disk_drain(VmsInput *input, GError **error)
{
    return vms_source_read_drain(((Input *)input)->source, error);
}

VmsInput *vms_input_disk(const char *path, const char *format, GCancellable *cancellable,
                         GError **error)
{
    Input *self = input_new();
    g_autoptr(VmsInput) input = &self->input;
    self->server = vms_server_start(path, format, cancellable, error);
    if (!self->server)
        return NULL;
    self->source = vms_source_open(self->server, error);
    if (!self->source)
        return NULL;
    input->size = vms_source_size(self->source);
    input->extents = disk_extents;
    input->read = disk_read;
    if (g_str_equal(format, "raw"))
        self->fd = vms_raw_image_open(path, input->size);
    if (self->fd >= 0) {
        input->announce = file_announce;
    } else {
        input->start = disk_start;
        input->drain = disk_drain;
    }
    return g_steal_pointer(&input);
}

bool vms_input_disk_extents(VmsInput *disk, uint64_t offset, uint64_t length,
                            VmsInputExtentFunc func, void *user, GCancellable *cancellable,
                            GError **error)
{
    return vms_source_extents(((Input *)disk)->source, offset, length, func, user, cancellable,
                              error);
}

typedef struct {
    const VmsChunkRun *run;
    uint64_t chunk_size;
    VmsInputExtentFunc func;
    void *user;
} Selected;

static bool on_selected(void *user, uint64_t offset, uint64_t length, bool zero, GError **error)
{
    const Selected *s = user;
    uint64_t shift = (s->run->first - s->run->before) * s->chunk_size;
    return s->func(s->user, offset - shift, length, zero, error);
}

static bool selected_extents(VmsInput *input, VmsInputExtentFunc func, void *user,
                             GCancellable *cancellable, GError **error)
{
    Input *self = (Input *)input;
    const VmsChunkRuns *runs = self->runs;
    for (guint i = 0; i < runs->runs->len; i++) {
        Selected s = {&g_array_index(runs->runs, VmsChunkRun, i), runs->chunk_size, func, user};
        uint64_t begin = s.run->first * runs->chunk_size;
        uint64_t end = MIN(begin + s.run->count * runs->chunk_size, runs->disk_size);
        if (!vms_source_extents(self->source, begin, end - begin, on_selected, &s, cancellable,
                                error))
            return false;
    }
    return true;
}

static bool selected_read(VmsInput *input, uint64_t offset, void *buffer, size_t length,
                          GError **error)
{
    Input *self = (Input *)input;
    uint64_t chunk_size = self->runs->chunk_size;
    uint8_t *at = buffer;
    while (length > 0) {
        const VmsChunkRun *run = vms_chunk_runs_find(self->runs, offset / chunk_size);
        uint64_t rest = (run->before + run->count) * chunk_size - offset; /* of the run */
        size_t here = (size_t)MIN(length, rest);
        if (!disk_read(input, offset + (run->first - run->before) * chunk_size, at, here, error))
            return false;
        at += here;
        offset += here;
        length -= here;
    }
    return true;
}

/* The pipeline starts a read per chunk, so it lies within one run. */
static bool selected_start(VmsInput *input, uint64_t offset, void *buffer, size_t length,
                           unsigned most, VmsInputDoneFunc done, void *user, GError **error)
{
    Input *self = (Input *)input;
    uint64_t chunk_size = self->runs->chunk_size;
    const VmsChunkRun *run = vms_chunk_runs_find(self->runs, offset / chunk_size);
    if (length > (run->before + run->count) * chunk_size - offset)
        return vms_fail(error, VMS_ERROR_INVALID, "a read across chunks that were left out");
    return vms_source_read_start(self->source, offset + (run->first - run->before) * chunk_size,
                                 buffer, length, most, done, user, error);
}

static void selected_announce(VmsInput *input, uint64_t offset, size_t length)
{
    const VmsChunkRuns *runs = ((Input *)input)->runs;
    const VmsChunkRun *run = vms_chunk_runs_find(runs, offset / runs->chunk_size);
    file_announce(input, offset + (run->first - run->before) * runs->chunk_size, length);
}

void vms_input_disk_select(VmsInput *disk, const VmsChunkRuns *runs)
{
    ((Input *)disk)->runs = runs;
    disk->size = vms_chunk_runs_size(runs);
    disk->extents = selected_extents;
    disk->read = selected_read;
    if (disk->announce)
        disk->announce = selected_announce;
    else
        disk->start = selected_start;
}

static bool file_extents(VmsInput *input, VmsInputExtentFunc func, void *user,
                         GCancellable *cancellable, GError **error)
{
    int fd = ((Input *)input)->fd;
    uint64_t at = 0;
    while (at < input->size) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return vms_fail_errno(error, errno, "looking for data");
        uint64_t begin = data < 0 ? input->size : MIN((uint64_t)data, input->size);
        if (begin > at && !func(user, at, begin - at, true, error))
            return false;
        if (begin == input->size)
            return true;
        off_t hole = lseek(fd, (off_t)begin, SEEK_HOLE);
        if (hole < 0)
            return vms_fail_errno(error, errno, "looking for holes");
        at = MIN((uint64_t)hole, input->size);
        if (!func(user, begin, at - begin, false, error))
            return false;
    }
    return true;
}

VmsInput *vms_input_file(const char *path, GError **error)
{
    struct stat st;
    Input *self = input_new();
    g_autoptr(VmsInput) input = &self->input;
    self->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (self->fd < 0 || fstat(self->fd, &st) < 0) {
        vms_fail_errno(error, errno, "%s", path);
        return NULL;
    }
    input->size = (uint64_t)st.st_size;
    input->extents = file_extents;
    input->read = file_read;
    input->announce = file_announce;
    return g_steal_pointer(&input);
}

static bool memory_next(VmsInput *input, void *buffer, size_t *ret_length, GError **error)
{
    return vms_ram_image_next(((Input *)input)->ram_image, buffer, ret_length, error);
}

/* Header and XML, whose length is in the header. */
static VmsSaveImage *read_save_header(VmsInput *input, GError **error)
{
    uint64_t need = VMS_SAVE_HEADER_LEN, have = 0;
    g_autofree uint8_t *head = NULL;
    for (;;) {
        g_autoptr(GError) cause = NULL;
        if (need > input->size)
            return vms_fail_null(error, VMS_ERROR_UNSUPPORTED, "the file ends within its header");
        head = g_realloc(head, need);
        if (!file_read(input, 0, head, need, error))
            return NULL;
        have = need;
        VmsSaveImage *image = vms_save_image_parse(head, have, &need, &cause);
        if (image || need <= have) {
            if (!image)
                g_propagate_error(error, g_steal_pointer(&cause));
            return image;
        }
    }
}

static bool put_in_order(Input *self, VmsContext *context, GError **error)
{
    g_autoptr(VmsSaveImage) header = read_save_header(&self->input, error);
    VmsRamImageStats stats;
    if (!header)
        return false;
    if (header->format != 0)
        return vms_fail(error, VMS_ERROR_UNSUPPORTED, "the save image is compressed (format %u)",
                        header->format);
    self->index_fd = vms_spool_open(NULL, error);
    if (self->index_fd < 0)
        return false;
    VmsRamFile file = {.fd = self->fd,
                       .size = self->input.size,
                       .begin = header->data_offset,
                       .progress = context->progress,
                       .cancellable = context->cancellable};
    self->ram_image = vms_ram_image_open(&file, self->index_fd, error);
    if (!self->ram_image)
        return false;
    vms_ram_image_stats(self->ram_image, &stats);
    self->input.size = stats.size;
    self->input.chunks = stats.pieces;
    self->input.chunk_max = VMS_RAM_PIECE_MAX;
    self->input.announce = NULL;
    self->input.next = memory_next;
    return true;
}

VmsInput *vms_input_memory(const char *path, VmsContext *context, VmsMemoryLayout *ret_layout,
                           char **ret_reason, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VmsInput) input = vms_input_file(path, error);
    if (!input)
        return NULL;
    bool ok = put_in_order((Input *)input, context, &cause);
    if (!ok && !vms_error_is(cause, VMS_ERROR_UNSUPPORTED) &&
        !vms_error_is(cause, VMS_ERROR_INVALID)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    *ret_layout = ok ? VMS_MEMORY_PAGES : VMS_MEMORY_STREAM;
    *ret_reason = ok ? NULL : g_strdup(cause->message);
    return g_steal_pointer(&input);
}

bool vms_input_check_memory(const VmsRecord *record, GError **error)
{
    struct stat st;
    if (stat(record->memory_path, &st) < 0)
        return vms_fail_errno(error, errno, "%s", record->memory_path);
    return (uint64_t)st.st_size == record->memory_size ||
           vms_fail(error, VMS_ERROR_CORRUPT,
                    "%s has %" G_GUINT64_FORMAT " bytes, at the cut it had %" G_GUINT64_FORMAT,
                    record->memory_path, (uint64_t)st.st_size, record->memory_size);
}

void vms_input_free(VmsInput *input)
{
    Input *self = (Input *)input;
    if (!self)
        return;
    vms_source_free(self->source);
    vms_server_free(self->server);
    vms_ram_image_free(self->ram_image);
    if (self->index_fd >= 0)
        close(self->index_fd);
    if (self->fd >= 0)
        close(self->fd);
    g_free(self);
}
