/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where something goes on a snapshot's own word, not on the operator's. Private to job/. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* REFUSED where dir (which need not exist) is one that programs take orders from, /etc or /usr,
 * say, or is hidden: who can write to a place of plain images would otherwise choose what root
 * runs. A list of the usual ones, no proof. */
bool vms_restore_place_check(const char *dir, GError **error);
