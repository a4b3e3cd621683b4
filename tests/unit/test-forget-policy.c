/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which snapshots a policy keeps, and why. */
#include "repo/forget-policy.h"

#include <string.h>

#define MOST 64

/* times: "2026-11-21T08:15", oldest first; kept: the expected reasons per time, newest first,
 * separated by "|". */
static void check(VmsKeepPolicy policy, const char *zone_name, const char *times, const char *kept)
{
    g_auto(GStrv) list = g_strsplit(times, " ", -1);
    g_autoptr(GTimeZone) zone = g_time_zone_new_identifier(zone_name);
    g_autoptr(GString) text = g_string_new(NULL);
    size_t count = g_strv_length(list);
    int64_t times_us[MOST];
    unsigned reasons[MOST];

    g_assert_nonnull(zone);
    for (size_t i = 0; i < count; i++) {
        g_autofree char *full = g_strdup_printf("%s:00Z", list[i]);
        g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(full, NULL);

        times_us[count - 1 - i] = g_date_time_to_unix(time) * G_USEC_PER_SEC;
    }
    vms_keep_policy_apply(&policy, times_us, count, zone, reasons);
    for (size_t i = 0; i < count; i++) {
        g_auto(GStrv) names = vms_keep_reason_names(reasons[i]);
        g_autofree char *joined = g_strjoinv(",", names);

        g_string_append_printf(text, "%s%s", i > 0 ? "|" : "", joined);
    }
    g_assert_cmpstr(text->str, ==, kept);
}

#define POLICY(...) ((VmsKeepPolicy){.count = {__VA_ARGS__}})

static void test_last(void)
{
    check(POLICY([VMS_KEEP_LAST] = 2), "UTC",
          "2026-01-01T00:00 2026-01-01T00:00 2026-01-02T00:00 2026-01-03T00:00", "last|last||");
    check(POLICY([VMS_KEEP_LAST] = -1), "UTC", "2026-01-01T00:00 2026-01-01T00:01", "last|last");
    check(POLICY([VMS_KEEP_LAST] = 9), "UTC", "2026-01-01T00:00", "last");
}

/* The newest of each bucket; gaps do not count; the oldest of all while the count lasts. */
static void test_buckets(void)
{
    check(POLICY([VMS_KEEP_DAILY] = 2), "UTC",
          "2026-01-01T10:00 2026-01-05T01:00 2026-01-05T23:00 2026-01-09T10:00", "daily|daily||");
    check(POLICY([VMS_KEEP_DAILY] = 9), "UTC",
          "2026-01-05T00:30 2026-01-05T01:00 2026-01-05T23:00 2026-01-09T10:00",
          "daily|daily||oldest daily");
    check(POLICY([VMS_KEEP_HOURLY] = 2), "UTC",
          "2026-01-01T10:00 2026-01-01T10:59 2026-01-01T11:00 2026-01-01T12:01", "hourly|hourly||");
    check(POLICY([VMS_KEEP_MONTHLY] = 2, [VMS_KEEP_YEARLY] = -1), "UTC",
          "2024-12-31T10:00 2025-01-01T10:59 2025-12-31T11:00 2026-01-01T12:01",
          "monthly,yearly|monthly,yearly||yearly");
    check(POLICY([VMS_KEEP_LAST] = 1, [VMS_KEEP_DAILY] = 1), "UTC",
          "2026-01-01T10:00 2026-01-02T10:59", "last,daily|");
}

/* ISO weeks: 2026-12-28 (a Monday) to 2027-01-03 are week 53 of 2026. */
static void test_weeks(void)
{
    check(POLICY([VMS_KEEP_WEEKLY] = 2), "UTC",
          "2026-12-21T00:00 2026-12-27T23:59 2026-12-28T00:00 2027-01-03T23:59", "weekly||weekly|");
}

/* 23:30 in UTC is the next day in Berlin. */
static void test_zone(void)
{
    static const char times[] = "2026-01-01T12:00 2026-01-01T23:30 2026-01-02T08:00";

    check(POLICY([VMS_KEEP_DAILY] = 2), "UTC", times, "daily|daily|");
    check(POLICY([VMS_KEEP_DAILY] = 2), "Europe/Berlin", times, "daily||daily");
}

static void test_empty(void)
{
    VmsKeepPolicy none = {.count = {0}};

    g_assert_true(vms_keep_policy_is_empty(&none));
    g_assert_false(vms_keep_policy_is_empty(&POLICY([VMS_KEEP_YEARLY] = -1)));
    check(none, "UTC", "2026-01-01T10:00 2026-01-02T10:59", "|");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/forget-policy/last", test_last);
    g_test_add_func("/forget-policy/buckets", test_buckets);
    g_test_add_func("/forget-policy/weeks", test_weeks);
    g_test_add_func("/forget-policy/zone", test_zone);
    g_test_add_func("/forget-policy/empty", test_empty);
    return g_test_run();
}
