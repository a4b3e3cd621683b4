/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What capturing memory takes beside the cut itself. Private to job/. */
#pragma once

#include "job/capture.h"

/* All that can be done before the guest is frozen or paused. Where copy-on-write was not asked for
 * but chosen, and fails here with everything as it was, the record is turned to engine live, with
 * the reason in its notes. */
bool vms_capture_prepare_memory(VmsCapture *capture, GError **error);

/* After the cut: the guest runs, and with copy-on-write QEMU writes its memory behind it. */
bool vms_capture_finish_memory(VmsCapture *capture, GError **error);

/* The snapshot is taken and recorded: whatever becomes of this, it stays. */
bool vms_capture_restore_huge(VmsCapture *capture);
