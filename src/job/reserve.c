/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/reserve.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#define LEAST (UINT64_C(1) << 20)

typedef struct {
    dev_t device;
    int fd; /* -1: none */
    uint64_t bytes;
} Held;

struct VmsReserve {
    GArray *held;
};

VmsReserve *vms_reserve_new(void)
{
    VmsReserve *reserve = g_new0(VmsReserve, 1);
    reserve->held = g_array_new(FALSE, FALSE, sizeof(Held));
    return reserve;
}

static Held *find(const VmsReserve *reserve, dev_t device)
{
    for (guint i = 0; reserve && i < reserve->held->len; i++) {
        Held *held = &g_array_index(reserve->held, Held, i);
        if (held->device == device)
            return held;
    }
    return NULL;
}

static void give_up(Held *held)
{
    if (held->fd >= 0)
        close(held->fd);
    held->fd = -1;
    held->bytes = 0;
}

/* What cannot grow stays as it is. */
static void set(Held *held, const char *dir, uint64_t bytes)
{
    if (bytes < LEAST) {
        give_up(held);
        return;
    }
    if (held->fd < 0)
        held->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (held->fd < 0)
        return;
    if (bytes > held->bytes && fallocate(held->fd, 0, 0, (off_t)bytes) < 0)
        bytes = held->bytes;
    if (ftruncate(held->fd, (off_t)bytes) < 0 || bytes == 0)
        give_up(held);
    else
        held->bytes = bytes;
}

void vms_reserve_set(VmsReserve *reserve, dev_t device, const char *dir, uint64_t bytes)
{
    Held *held = find(reserve, device);
    Held fresh = {device, -1, 0};
    if (!held)
        g_array_append_val(reserve->held, fresh);
    set(held ? held : find(reserve, device), dir, bytes);
}

uint64_t vms_reserve_on(const VmsReserve *reserve, dev_t device)
{
    const Held *held = find(reserve, device);
    return held ? held->bytes : 0;
}

void vms_reserve_shrink(VmsReserve *reserve, uint64_t bytes)
{
    for (guint i = 0; reserve && i < reserve->held->len; i++) {
        Held *held = &g_array_index(reserve->held, Held, i);
        if (held->bytes > bytes)
            set(held, NULL, bytes);
    }
}

void vms_reserve_free(VmsReserve *reserve)
{
    if (!reserve)
        return;
    for (guint i = 0; i < reserve->held->len; i++)
        give_up(&g_array_index(reserve->held, Held, i));
    g_array_unref(reserve->held);
    g_free(reserve);
}
