/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long work tells how far it is. Implemented by cli/ (bar, lines, JSON); safe from any thread.
 */
#pragma once

#include <stdint.h>

typedef struct VmsProgress VmsProgress;

typedef struct {
    const char *phase; /* "export", "commit", "restore", "memory" … */
    const char *item;  /* disk target, nullable */
    uint64_t done;     /* bytes of finished work */
    uint64_t total;    /* bytes; 0 where unknown */
} VmsProgressState;

struct VmsProgress {
    void (*update)(VmsProgress *progress, const VmsProgressState *state);
    /* One line for the operator about something that is not an error. */
    void (*message)(VmsProgress *progress, const char *text);
};

/* NULL progress is fine: nothing happens. */
void vms_progress_update(VmsProgress *progress, const char *phase, const char *item, uint64_t done,
                         uint64_t total);
void vms_progress_message(VmsProgress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
