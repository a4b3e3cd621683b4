/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A save image among plain images, into a file that libvirt restores from. Private to job/. */
#pragma once

#include "job/memory-image.h"
#include "job/plain-read.h"

/* Writes path (0600; its directory is made), with the XML that func gives in the header. Only when
 * it returns true is it whole and its hash found right; else there is no file. NO_SPACE before it
 * is begun. */
bool vms_plain_memory_write(const VmsPlainReadOptions *options, const char *object,
                            const VmsManifestFile *file, const char *path, VmsMemoryXmlFunc func,
                            void *user, GError **error);
