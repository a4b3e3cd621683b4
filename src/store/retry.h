/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store around a store: does again what failed as TRANSIENT, and nothing else. */
#pragma once

#include "base/progress.h"
#include "store/store.h"

/* Zero takes the default. */
typedef struct {
    unsigned max_tries;      /* per call, the first one included (16) */
    unsigned first_tries;    /* the same until the store has answered once (4): an endpoint that
                                never answered is rather mistyped than away for a moment */
    unsigned max_total_ms;   /* no new try is begun later than this after the first (300,000) */
    unsigned first_delay_ms; /* before the second try; doubles with each, with jitter (250) */
    unsigned max_delay_ms;   /* (30,000) */
    VmsProgress *progress;   /* borrowed, nullable; is told "…; retrying in 1.2 s" */
} VmsRetryOptions;

/* Takes inner. options nullable: all defaults. After a put with only_new whose outcome is unknown,
 * an object of the same content that is there now counts as ours. A cancelled wait ends at once. */
VmsStore *vms_retry_new(VmsStore *inner, const VmsRetryOptions *options);

/* For stores: called before a TRANSIENT error is returned on the same thread, it makes the next
 * wait at least this long (HTTP's Retry-After). */
void vms_retry_hint(unsigned delay_ms);

/* The same, where the TRANSIENT error is the store's own answer: it is there, and only busy. */
void vms_retry_heard(void);
