/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of a series of snapshots are kept: restic's rules. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    VMS_KEEP_LAST,
    VMS_KEEP_HOURLY,
    VMS_KEEP_DAILY,
    VMS_KEEP_WEEKLY, /* ISO 8601 */
    VMS_KEEP_MONTHLY,
    VMS_KEEP_YEARLY,
    VMS_KEEP_KINDS
} VmsKeepKind;

typedef struct {
    int count[VMS_KEEP_KINDS]; /* 0: none of this kind; -1: all */
} VmsKeepPolicy;

/* Bits of a result: kept as the newest of its hour, day …, or because it is the oldest of all while
 * the count was not used up. */
#define VMS_KEEP_REASON(kind) (1u << (kind))
#define VMS_KEEP_REASON_OLDEST(kind) (1u << ((kind) + VMS_KEEP_KINDS))

/* True where the policy would keep nothing. */
bool vms_keep_policy_is_empty(const VmsKeepPolicy *policy);

/* times_us: µs since 1970, newest first. ret_reasons: one set of bits per time, 0 where it is not
 * kept. Hours, days … are those of zone. */
void vms_keep_policy_apply(const VmsKeepPolicy *policy, const int64_t *times_us, size_t count,
                           GTimeZone *zone, unsigned *ret_reasons);

/* "last", "daily", "oldest yearly" …, NULL-terminated (transfer full). */
char **vms_keep_reason_names(unsigned reasons);
