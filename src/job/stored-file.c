/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file is seen as windows of WINDOW bytes. A window is loaded whole by vms_reader_run, which
 * sorts its blobs by pack and fetches runs of them in parallel; a blob that lies across an edge is
 * fetched for both windows. Few slots hold windows; the one not used for the longest is reused.
 *
 * Who wants a window that nobody loads takes a slot, marks it LOADING, drops the lock, and loads;
 * others wait. After a read in the window that follows the one read before, the
 * AHEAD windows behind it are wanted by as many threads ("stored-ahead"), which do the same: a
 * reader that goes forward has that many windows on their way, and an object store several requests
 * at a time.
 *
 * Locks: VmsStoredFile.lock guards everything but the bytes of a slot that is LOADING, which belong
 * to its loader; nothing else is taken while it is held. A slot with readers is not reused. */
#include "job/stored-file.h"

#include "base/error.h"
#include "job/blob-map.h"
#include "repo/reader.h"

#include <string.h>

#define WINDOW (4u << 20) /* bytes */
#define AHEAD 4           /* windows, each with a thread */
#define SLOTS (AHEAD + 6) /* and a few to be read from */
#define NONE UINT64_MAX

typedef enum { EMPTY, LOADING, READY } SlotState;

typedef struct {
    SlotState state;
    uint64_t window; /* number; NONE while EMPTY */
    unsigned readers;
    uint64_t used;  /* by the clock of reads */
    uint8_t *bytes; /* WINDOW, or NULL while never used */
} Slot;

struct VmsStoredFile {
    VmsRepo *repo;
    const VmsNode *node;
    GCancellable *cancellable;
    VmsBlobMap *map;
    GMutex lock;
    GCond changed;
    Slot slots[SLOTS];
    uint64_t clock;
    uint64_t last;                   /* window of the read before; NONE at first: so 0 follows it */
    uint64_t ahead_begin, ahead_end; /* windows to be read ahead */
    bool ending;
    GThread *threads[AHEAD];
    VmsStoredFileStats stats;
};

/* --- loading a window --- */

typedef struct {
    VmsStoredFile *file;
    uint8_t *bytes;
    uint64_t begin, end; /* of the window in the file */
} Load;

/* The part of one blob that lies in the window. Blobs do not overlap, so threads need no lock. */
static bool take_blob(void *user, uint64_t at, const void *data, size_t len, GError **error)
{
    const Load *load = user;
    uint64_t begin, end;
    if (!vms_blob_map_range(load->file->map, at, &begin, &end, error))
        return false;
    if (len != end - begin)
        return vms_fail(error, VMS_ERROR_CORRUPT,
                        "chunk %" G_GUINT64_FORMAT " has %zu bytes instead of %" G_GUINT64_FORMAT,
                        at, len, end - begin);
    uint64_t from = MAX(begin, load->begin), to = MIN(end, load->end);
    if (from < to)
        memcpy(load->bytes + (from - load->begin), (const uint8_t *)data + (from - begin),
               to - from);
    return true;
}

static bool load_window(VmsStoredFile *file, uint64_t window, uint8_t *bytes, uint64_t *ret_fetched,
                        GError **error)
{
    Load load = {.file = file, .bytes = bytes, .begin = window * WINDOW};
    load.end = MIN(load.begin + WINDOW, file->node->size);
    uint64_t first, last;
    VmsRepoReaderStats stats;
    if (!vms_blob_map_find(file->map, load.begin, &first, error) ||
        !vms_blob_map_find(file->map, load.end - 1, &last, error))
        return false;
    VmsRepoReaderOptions options = {.first = first, .count = last - first + 1};
    if (!vms_reader_run(file->repo, file->node->content, &options, take_blob, &load, &stats,
                        file->cancellable, error))
        return false;
    *ret_fetched = stats.bytes;
    return true;
}

/* --- slots; the lock is held --- */

static Slot *find_slot(VmsStoredFile *file, uint64_t window)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (file->slots[i].state != EMPTY && file->slots[i].window == window)
            return &file->slots[i];
    return NULL;
}

/* NULL while all are loading or being read. */
static Slot *free_slot(VmsStoredFile *file)
{
    Slot *best = NULL;
    for (unsigned i = 0; i < SLOTS; i++) {
        Slot *slot = &file->slots[i];
        if (slot->state == LOADING || slot->readers > 0)
            continue;
        if (!best || slot->state == EMPTY || (best->state != EMPTY && slot->used < best->used))
            best = slot;
    }
    return best;
}

/* Drops the lock while it loads. The slot is READY afterwards, or EMPTY with *error. */
static bool fill_slot(VmsStoredFile *file, Slot *slot, uint64_t window, GError **error)
{
    uint64_t fetched = 0;
    slot->state = LOADING;
    slot->window = window;
    slot->used = ++file->clock;
    if (!slot->bytes)
        slot->bytes = g_malloc(WINDOW);
    g_mutex_unlock(&file->lock);
    bool ok = load_window(file, window, slot->bytes, &fetched, error);
    g_mutex_lock(&file->lock);
    file->stats.bytes_fetched += fetched;
    slot->state = ok ? READY : EMPTY;
    slot->window = ok ? window : NONE;
    g_cond_broadcast(&file->changed);
    return ok;
}

/* The window, loaded, with this caller counted among its readers. */
static Slot *hold_slot(VmsStoredFile *file, uint64_t window, GError **error)
{
    for (;;) {
        Slot *slot = find_slot(file, window);
        if (slot && slot->state == READY) {
            slot->readers++;
            slot->used = ++file->clock;
            return slot;
        }
        if (!vms_check_cancelled(file->cancellable, error))
            return NULL;
        Slot *room = slot ? NULL : free_slot(file);
        if (!room)
            g_cond_wait(&file->changed, &file->lock);
        else if (!fill_slot(file, room, window, error))
            return NULL;
    }
}

/* --- reading ahead --- */

/* The first window to be read ahead that nobody has or loads. */
static uint64_t next_ahead(VmsStoredFile *file)
{
    while (file->ahead_begin < file->ahead_end && find_slot(file, file->ahead_begin))
        file->ahead_begin++;
    return file->ahead_begin < file->ahead_end ? file->ahead_begin : NONE;
}

static void *read_ahead(void *user)
{
    VmsStoredFile *file = user;
    g_mutex_lock(&file->lock);
    while (!file->ending) {
        uint64_t window = next_ahead(file);
        Slot *room = window == NONE ? NULL : free_slot(file);
        if (!room) {
            g_cond_wait(&file->changed, &file->lock);
            continue;
        }
        file->ahead_begin = window + 1;
        if (!fill_slot(file, room, window, NULL))
            file->ahead_end = file->ahead_begin; /* the error is for who really wants the window */
    }
    g_mutex_unlock(&file->lock);
    return NULL;
}

/* The lock is held. */
static void plan_ahead(VmsStoredFile *file, uint64_t window)
{
    bool forward = window == file->last + 1;
    uint64_t windows = (file->node->size + WINDOW - 1) / WINDOW;
    file->last = window;
    if (!forward)
        return; /* within one window it is planned already, and not tried again if it failed */
    file->ahead_begin = window + 1;
    file->ahead_end = MIN(window + 1 + AHEAD, windows);
    g_cond_broadcast(&file->changed);
}

/* --- public --- */

VmsStoredFile *vms_stored_file_open(VmsRepo *repo, const VmsNode *node, GCancellable *cancellable,
                                    GError **error)
{
    g_autoptr(VmsBlobMap) map = vms_blob_map_new(repo, node, cancellable, error);
    if (!map)
        return NULL;
    VmsStoredFile *file = g_new0(VmsStoredFile, 1);
    file->repo = repo;
    file->node = node;
    file->cancellable = cancellable;
    file->map = g_steal_pointer(&map);
    file->last = NONE;
    g_mutex_init(&file->lock);
    g_cond_init(&file->changed);
    for (size_t i = 0; i < AHEAD; i++)
        file->threads[i] = g_thread_new("stored-ahead", read_ahead, file);
    return file;
}

void vms_stored_file_free(VmsStoredFile *file)
{
    if (!file)
        return;
    g_mutex_lock(&file->lock);
    file->ending = true;
    g_cond_broadcast(&file->changed);
    g_mutex_unlock(&file->lock);
    for (size_t i = 0; i < AHEAD; i++)
        g_thread_join(file->threads[i]);
    for (unsigned i = 0; i < SLOTS; i++)
        g_free(file->slots[i].bytes);
    g_cond_clear(&file->changed);
    g_mutex_clear(&file->lock);
    vms_blob_map_free(file->map);
    g_free(file);
}

uint64_t vms_stored_file_size(const VmsStoredFile *file)
{
    return file->node->size;
}

/* What of the range lies in the window of its first byte. */
static bool read_piece(VmsStoredFile *file, uint64_t offset, uint8_t *buffer, size_t length,
                       size_t *ret_read, GError **error)
{
    uint64_t window = offset / WINDOW, within = offset % WINDOW;
    size_t n = MIN(length, WINDOW - within);
    g_mutex_lock(&file->lock);
    Slot *slot = hold_slot(file, window, error);
    if (slot)
        plan_ahead(file, window);
    g_mutex_unlock(&file->lock);
    if (!slot)
        return false;
    memcpy(buffer, slot->bytes + within, n);
    g_mutex_lock(&file->lock);
    slot->readers--;
    file->stats.bytes_read += n;
    g_cond_broadcast(&file->changed);
    g_mutex_unlock(&file->lock);
    *ret_read = n;
    return true;
}

bool vms_stored_file_read(VmsStoredFile *file, uint64_t offset, void *buffer, size_t length,
                          size_t *ret_read, GError **error)
{
    uint64_t size = file->node->size;
    size_t want = offset < size ? MIN(length, size - offset) : 0;
    size_t done = 0, piece;
    while (done < want) {
        if (!read_piece(file, offset + done, (uint8_t *)buffer + done, want - done, &piece, error))
            return false;
        done += piece;
    }
    *ret_read = done;
    return true;
}

void vms_stored_file_stats(VmsStoredFile *file, VmsStoredFileStats *ret_stats)
{
    g_mutex_lock(&file->lock);
    *ret_stats = file->stats;
    g_mutex_unlock(&file->lock);
}
