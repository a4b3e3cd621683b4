/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Updates come from many threads and thousands of times a second: all but a few are dropped after
 * one look at the clock. Only finished work counts, so the rate is what was finished since the
 * phase began, and the time left follows from it.
 *
 * Lock: meter->lock, for everything that is drawn; nothing is called with it held but stdio. */
#include "cli/meter.h"

#include "base/error.h"
#include "base/json-writer.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_INTERVAL_US 100000
#define JSON_INTERVAL_US 500000
#define PLAIN_INTERVAL_US 5000000
#define MIN_RATE_US 200000 /* a rate over less says nothing */

struct VmsMeter {
    VmsProgress progress; /* first: the callbacks cast */
    GMutex lock;
    VmsMeterKind kind;
    bool quiet;
    bool drawn; /* a bar stands on the current line */
    bool whole; /* the phase's last line has been printed */
    char *phase;
    int64_t begin_us, last_us;
    uint64_t begin_done;
};

bool vms_meter_parse(const char *name, VmsMeterKind *ret_kind, GError **error)
{
    bool terminal = isatty(STDERR_FILENO) == 1 && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
    if (!name || g_str_equal(name, "auto"))
        *ret_kind = terminal ? VMS_METER_BAR : VMS_METER_PLAIN;
    else if (g_str_equal(name, "bar"))
        *ret_kind = VMS_METER_BAR;
    else if (g_str_equal(name, "plain"))
        *ret_kind = VMS_METER_PLAIN;
    else if (g_str_equal(name, "json"))
        *ret_kind = VMS_METER_JSON;
    else if (g_str_equal(name, "none"))
        *ret_kind = VMS_METER_NONE;
    else
        return vms_fail(error, VMS_ERROR_USAGE,
                        "--progress=%s: not one of auto, bar, plain, json, none", name);
    return true;
}

static char *time_left(const VmsProgressState *state, double rate)
{
    if (rate <= 0 || state->total <= state->done)
        return g_strdup("");
    double seconds = (double)(state->total - state->done) / rate;
    if (seconds > 359999)
        return g_strdup("");
    unsigned left = (unsigned)(seconds + 0.5);
    if (left >= 3600)
        return g_strdup_printf("%u:%02u:%02u left", left / 3600, left / 60 % 60, left % 60);
    return g_strdup_printf("%u:%02u left", left / 60, left % 60);
}

static unsigned percent(const VmsProgressState *state)
{
    if (state->total == 0)
        return 0;
    return (unsigned)((double)MIN(state->done, state->total) * 100.0 / (double)state->total);
}

/* "42 %  1.2 GiB of 3.0 GiB  104.0 MiB/s  0:17 left" */
static char *numbers(const VmsProgressState *state, double rate)
{
    g_autofree char *done = vms_text_size(state->done), *total = vms_text_size(state->total);
    g_autofree char *speed = vms_text_size((uint64_t)rate), *left = time_left(state, rate);
    GString *text = g_string_new(NULL);
    if (state->total > 0)
        g_string_append_printf(text, "%3u %%  %s of %s", percent(state), done, total);
    else
        g_string_append(text, done);
    if (rate > 0)
        g_string_append_printf(text, "  %s/s", speed);
    if (*left)
        g_string_append_printf(text, "  %s", left);
    return g_string_free(text, FALSE);
}

char *vms_meter_bar(const VmsProgressState *state, double rate, int width)
{
    g_autofree char *tail = numbers(state, rate);
    g_autofree char *head = g_strdup_printf("%s%s%s", state->phase, state->item ? " " : "",
                                            state->item ? state->item : "");
    int room = width - (int)strlen(head) - (int)strlen(tail) - 6;
    if (room < 4 || state->total == 0) {
        char *line = g_strdup_printf("%s  %s", head, tail);
        if ((int)strlen(line) > width)
            line[MAX(width, 0)] = '\0';
        return line;
    }
    int cells = MIN(room, 30);
    int full = (int)(percent(state) * (unsigned)cells / 100);
    g_autofree char *done = g_strnfill((gsize)full, '#');
    g_autofree char *open = g_strnfill((gsize)(cells - full), '.');
    return g_strdup_printf("%s  [%s%s]  %s", head, done, open, tail);
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1 : 79;
}

static void clear_bar(VmsMeter *meter)
{
    if (meter->drawn)
        fputs("\r\033[K", stderr);
    meter->drawn = false;
}

static void print_json(const VmsProgressState *state, double rate)
{
    g_autoptr(VmsJsonWriter) out = vms_json_writer_new(false);
    vms_json_writer_begin_object(out);
    vms_json_writer_member_string(out, "schema", "vmsnap.progress.v1");
    vms_json_writer_member_string(out, "type", "progress");
    vms_json_writer_member_string(out, "phase", state->phase);
    vms_json_writer_member_string(out, "item", state->item);
    vms_json_writer_member_uint64(out, "done", state->done);
    vms_json_writer_key(out, "total");
    if (state->total > 0)
        vms_json_writer_uint64(out, state->total);
    else
        vms_json_writer_null(out);
    vms_json_writer_member_uint64(out, "bytes_per_second", (uint64_t)rate);
    vms_json_writer_end_object(out);
    g_autofree char *text = vms_json_writer_finish(out);
    fprintf(stderr, "%s\n", text);
}

static void draw(VmsMeter *meter, const VmsProgressState *state, double rate)
{
    g_autofree char *text = NULL;
    switch (meter->kind) {
    case VMS_METER_BAR:
        text = vms_meter_bar(state, rate, columns());
        fprintf(stderr, "\r%s\033[K", text);
        meter->drawn = true;
        break;
    case VMS_METER_PLAIN:
        text = numbers(state, rate);
        fprintf(stderr, "vmsnap: %s%s%s: %s\n", state->phase, state->item ? " " : "",
                state->item ? state->item : "", g_strchug(text));
        break;
    case VMS_METER_JSON:
        print_json(state, rate);
        break;
    case VMS_METER_NONE:
        break;
    }
    fflush(stderr);
}

/* With the lock held. */
static void begin_phase(VmsMeter *meter, const VmsProgressState *state, int64_t now)
{
    g_free(meter->phase);
    meter->phase = g_strdup(state->phase);
    meter->begin_us = now;
    meter->begin_done = state->done;
    /* Lines tell of long work only: the first comes after an interval. */
    meter->last_us = meter->kind == VMS_METER_PLAIN ? now : 0;
    meter->whole = false;
}

static void on_update(VmsProgress *progress, const VmsProgressState *state)
{
    static const int64_t intervals[] = {
        [VMS_METER_NONE] = G_MAXINT64,
        [VMS_METER_PLAIN] = PLAIN_INTERVAL_US,
        [VMS_METER_BAR] = BAR_INTERVAL_US,
        [VMS_METER_JSON] = JSON_INTERVAL_US,
    };
    VmsMeter *meter = (VmsMeter *)progress;
    int64_t now = g_get_monotonic_time();
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->lock);
    if (meter->kind == VMS_METER_NONE)
        return;
    if (g_strcmp0(meter->phase, state->phase) != 0 || state->done < meter->begin_done)
        begin_phase(meter, state, now);
    bool whole = state->total > 0 && state->done >= state->total;
    if (whole ? meter->whole : now - meter->last_us < intervals[meter->kind])
        return;
    int64_t elapsed = now - meter->begin_us;
    double rate = elapsed > MIN_RATE_US
                      ? (double)(state->done - meter->begin_done) * 1e6 / (double)elapsed
                      : 0;
    draw(meter, state, rate);
    meter->last_us = now;
    meter->whole = whole;
}

/* Text may come from a server or a guest: it must not drive the terminal. Our own lines may have
 * two. */
static char *printable(const char *text)
{
    char *copy = g_utf8_make_valid(text, -1);
    for (char *at = copy; *at; at++)
        if (g_ascii_iscntrl(*at) && *at != '\n')
            *at = '?';
    return copy;
}

/* With the lock held. */
static void print_line(VmsMeter *meter, const char *text)
{
    clear_bar(meter);
    if (meter->kind == VMS_METER_JSON) {
        g_autoptr(VmsJsonWriter) out = vms_json_writer_new(false);
        vms_json_writer_begin_object(out);
        vms_json_writer_member_string(out, "schema", "vmsnap.progress.v1");
        vms_json_writer_member_string(out, "type", "message");
        vms_json_writer_member_string(out, "text", text);
        vms_json_writer_end_object(out);
        g_autofree char *json = vms_json_writer_finish(out);
        fprintf(stderr, "%s\n", json);
    } else {
        g_autofree char *plain = printable(text);
        fprintf(stderr, "vmsnap: %s\n", plain);
    }
    fflush(stderr);
}

static void on_message(VmsProgress *progress, const char *text)
{
    VmsMeter *meter = (VmsMeter *)progress;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->lock);
    if (!meter->quiet)
        print_line(meter, text);
}

VmsMeter *vms_meter_new(void)
{
    VmsMeter *meter = g_new0(VmsMeter, 1);
    g_mutex_init(&meter->lock);
    meter->progress.update = on_update;
    meter->progress.message = on_message;
    meter->kind = VMS_METER_PLAIN;
    return meter;
}

void vms_meter_free(VmsMeter *meter)
{
    if (!meter)
        return;
    g_mutex_clear(&meter->lock);
    g_free(meter->phase);
    g_free(meter);
}

void vms_meter_configure(VmsMeter *meter, VmsMeterKind kind, bool quiet)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->lock);
    meter->kind = quiet ? VMS_METER_NONE : kind;
    meter->quiet = quiet;
}

VmsProgress *vms_meter_progress(VmsMeter *meter)
{
    return &meter->progress;
}

void vms_meter_finish(VmsMeter *meter)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->lock);
    clear_bar(meter);
    fflush(stderr);
}

void vms_meter_line(VmsMeter *meter, const char *text)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->lock);
    print_line(meter, text);
}
