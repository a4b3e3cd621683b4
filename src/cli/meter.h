/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress on stderr: a bar on a terminal, lines elsewhere, JSON lines for programs. */
#pragma once

#include "base/progress.h"

#include <glib.h>
#include <stdbool.h>

typedef struct VmsMeter VmsMeter;

typedef enum { VMS_METER_NONE, VMS_METER_PLAIN, VMS_METER_BAR, VMS_METER_JSON } VmsMeterKind;

/* "auto", "bar", "plain", "json", "none"; NULL: auto. USAGE. */
bool vms_meter_parse(const char *name, VmsMeterKind *ret_kind, GError **error);

VmsMeter *vms_meter_new(void);
void vms_meter_free(VmsMeter *meter);

/* Before that it is PLAIN. quiet: messages are dropped too. */
void vms_meter_configure(VmsMeter *meter, VmsMeterKind kind, bool quiet);

VmsProgress *vms_meter_progress(VmsMeter *meter);

/* Removes the bar: what is printed next stands on a line of its own. */
void vms_meter_finish(VmsMeter *meter);

/* A line on stderr, whatever the kind, without disturbing the bar. */
void vms_meter_line(VmsMeter *meter, const char *text);

/* The pieces of a bar's line, for tests: "export vda [####....] 42 % …", at most width columns. */
char *vms_meter_bar(const VmsProgressState *state, double rate, int width);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsMeter, vms_meter_free)
