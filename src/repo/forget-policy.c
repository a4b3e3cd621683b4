/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/forget-policy.h"

bool vms_keep_policy_is_empty(const VmsKeepPolicy *policy)
{
    for (int kind = 0; kind < VMS_KEEP_KINDS; kind++)
        if (policy->count[kind] != 0)
            return false;
    return true;
}

/* A number that all times of one hour, day … have in common. */
static int64_t bucket(VmsKeepKind kind, GDateTime *time, size_t at)
{
    int64_t year = g_date_time_get_year(time), month = g_date_time_get_month(time);
    int64_t day = year * 10000 + month * 100 + g_date_time_get_day_of_month(time);

    switch (kind) {
    case VMS_KEEP_HOURLY:
        return day * 100 + g_date_time_get_hour(time);
    case VMS_KEEP_DAILY:
        return day;
    case VMS_KEEP_WEEKLY:
        return g_date_time_get_week_numbering_year(time) * INT64_C(100) +
               g_date_time_get_week_of_year(time);
    case VMS_KEEP_MONTHLY:
        return year * 100 + month;
    case VMS_KEEP_YEARLY:
        return year;
    case VMS_KEEP_LAST:
    case VMS_KEEP_KINDS:
        break;
    }
    return (int64_t)at;
}

void vms_keep_policy_apply(const VmsKeepPolicy *policy, const int64_t *times_us, size_t count,
                           GTimeZone *zone, unsigned *ret_reasons)
{
    VmsKeepPolicy left = *policy;
    int64_t previous[VMS_KEEP_KINDS];

    for (int kind = 0; kind < VMS_KEEP_KINDS; kind++)
        previous[kind] = INT64_MIN;
    for (size_t at = 0; at < count; at++) {
        g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(times_us[at] / G_USEC_PER_SEC);
        g_autoptr(GDateTime) there = g_date_time_to_timezone(utc, zone);
        GDateTime *time = there ? there : utc; /* the year 0 in some zones */

        ret_reasons[at] = 0;
        for (int kind = 0; kind < VMS_KEEP_KINDS; kind++) {
            int64_t value = bucket((VmsKeepKind)kind, time, at);

            if (left.count[kind] == 0 || (value == previous[kind] && at + 1 < count))
                continue;
            ret_reasons[at] |=
                value == previous[kind] ? VMS_KEEP_REASON_OLDEST(kind) : VMS_KEEP_REASON(kind);
            previous[kind] = value;
            if (left.count[kind] > 0)
                left.count[kind]--;
        }
    }
}

char **vms_keep_reason_names(unsigned reasons)
{
    static const char *const names[] = {"last", "hourly", "daily", "weekly", "monthly", "yearly"};
    GPtrArray *list = g_ptr_array_new();

    for (int kind = 0; kind < VMS_KEEP_KINDS; kind++) {
        if (reasons & VMS_KEEP_REASON(kind))
            g_ptr_array_add(list, g_strdup(names[kind]));
        if (reasons & VMS_KEEP_REASON_OLDEST(kind))
            g_ptr_array_add(list, g_strdup_printf("oldest %s", names[kind]));
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}
