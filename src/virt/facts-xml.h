/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of the facts that is in the XML: a pure function, for tests and fuzzing. Private to
 * virt/. */
#pragma once

#include "virt/facts.h"

VmsFacts *vms_facts_new(void);

/* Fills everything that facts->xml says: name, uuid, memory, vcpus, disks, devices. INVALID. */
bool vms_facts_parse(VmsFacts *facts, GError **error);
