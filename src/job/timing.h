/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of a snapshot was measured, by name: for the catalog and for --json. All in µs, but "beats".
 */
#pragma once

#include "job/record.h"

typedef struct {
    const char *name; /* pause_us … */
    bool heartbeat;   /* seen by the guest's heartbeat, else by vmsnap itself */
    size_t offset;    /* of an int64_t or, of the beats, uint64_t in VmsRecord */
} VmsTimingField;

/* Ends with a NULL name. */
extern const VmsTimingField vms_timing_fields[];

int64_t vms_timing_get(const VmsRecord *record, const VmsTimingField *field);
void vms_timing_set(VmsRecord *record, const char *name, bool heartbeat, int64_t value);
