/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store around a store that fails when it is told to: for tests of what stands on stores. No part
 * of the program: tests/meson.build builds it. */
#pragma once

#include "base/error.h"
#include "store/store.h"

typedef enum {
    VMS_FAULT_REFUSE, /* fails, and has done nothing */
    VMS_FAULT_LOSE, /* does it, and then fails: the answer got lost. A listing breaks off halfway */
    VMS_FAULT_SHORT, /* get: the object has lost its second half */
    VMS_FAULT_WRONG, /* get: one bit in the middle is wrong */
} VmsFaultMode;

typedef enum {
    VMS_FAULT_PUT = 1, /* parts, too */
    VMS_FAULT_GET = 2,
    VMS_FAULT_HAS = 4,
    VMS_FAULT_LIST = 8,
    VMS_FAULT_REMOVE = 16,
    VMS_FAULT_ANY = 31,
} VmsFaultKinds;

typedef struct {
    VmsFaultMode mode;
    VmsFaultKinds kinds;
    const char *prefix; /* of names, nullable: all */
    unsigned at;        /* the first call of these to fail, from 1 on; 0: none */
    unsigned times;     /* so many; 0: all from then on */
    VmsErrorCode code;  /* of REFUSE and LOSE */
} VmsFault;

/* Takes inner. */
VmsStore *vms_fault_new(VmsStore *inner);

/* From now on; counts anew. The prefix is borrowed until the next one. */
void vms_fault_set(VmsStore *store, const VmsFault *fault);

/* How many calls there were of the kinds and names of the fault that is set. */
unsigned vms_fault_calls(VmsStore *store);
