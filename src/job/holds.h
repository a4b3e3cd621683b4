/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog's guests that an overlay guard keeps paused, or kept when it was killed: known from
 * before the pause until after its end (P1). Private to job/. */
#pragma once

#include "job/catalog.h"

typedef struct {
    char *uuid;
    char *domain; /* its name */
} VmsHold;

/* Durable on return. One that is there already stays. */
bool vms_holds_add(VmsCatalog *catalog, const char *uuid, const char *domain, GError **error);
bool vms_holds_remove(VmsCatalog *catalog, const char *uuid, GError **error);

/* GPtrArray of VmsHold*. domain: name or UUID, NULL for all. */
GPtrArray *vms_holds_list(VmsCatalog *catalog, const char *domain, GError **error);
