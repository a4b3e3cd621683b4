/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job/timing.h"

#include <string.h>

#define COW(name)                                                                                  \
    {                                                                                              \
#name, false, G_STRUCT_OFFSET(VmsRecord, timing.name)                                      \
    }
#define BEAT(name)                                                                                 \
    {                                                                                              \
#name, true, G_STRUCT_OFFSET(VmsRecord, heartbeat.name)                                    \
    }

const VmsTimingField vms_timing_fields[] = {
    COW(warmup_us), COW(suspend_us),   COW(start_us),  COW(disks_us),  COW(side_us),
    COW(pages_us),  COW(resume_us),    COW(pause_us),  COW(write_us),  COW(huge_us),
    BEAT(beats),    BEAT(baseline_us), BEAT(pause_us), BEAT(write_us), {NULL, false, 0},
};

int64_t vms_timing_get(const VmsRecord *record, const VmsTimingField *field)
{
    int64_t value;
    memcpy(&value, (const char *)record + field->offset, sizeof value);
    return value;
}

void vms_timing_set(VmsRecord *record, const char *name, bool heartbeat, int64_t value)
{
    for (const VmsTimingField *field = vms_timing_fields; field->name; field++)
        if (field->heartbeat == heartbeat && g_strcmp0(field->name, name) == 0)
            memcpy((char *)record + field->offset, &value, sizeof value);
}
