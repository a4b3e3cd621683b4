/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of virt/: QEMU's own reports that the guest was stopped or ran on. */
#pragma once

#include "virt/conn.h"

typedef struct VmsStopWatch VmsStopWatch;

typedef struct {
    unsigned resumes_early; /* after from, before safe */
    unsigned stops_later;   /* after resumed, that nobody asked libvirt for */
} VmsStops;

/* From here on; nothing more after the end of domain's connection. */
VmsStopWatch *vms_stop_watch_new(virDomainPtr domain, GError **error);

/* Times in µs since 1970, by this host's clock, which is QEMU's too. */
VmsStops vms_stop_watch_get(VmsStopWatch *watch, int64_t from, int64_t safe, int64_t resumed);
void vms_stop_watch_free(VmsStopWatch *watch);
