/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One disk in a domain's XML: finding it, laying an overlay on it and taking it off again. */
#pragma once

#include "virt/overlay.h"
#include "virt/xml.h"

/* The <disk> element of target; NULL if there is none. */
xmlNodePtr vms_disk_xml_find(xmlDocPtr doc, const char *target);

/* Path of the source (file or block device) of a <disk> or <backingStore>; NULL if it has none
 * (transfer full). */
char *vms_disk_xml_source(xmlNodePtr disk);

/* The <backingStore> right below a <disk> or <backingStore>; NULL where none is named. */
xmlNodePtr vms_disk_xml_backing(xmlNodePtr disk);

/* Makes the overlay the disk's source; what was there becomes its backing store. */
void vms_disk_xml_push(xmlNodePtr disk, const VmsOverlay *overlay);

/* The reverse: the disk is back on the overlay's base, with what is named below that. */
void vms_disk_xml_pop(xmlNodePtr disk, const VmsOverlay *overlay);
