/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that a manifest names where a snapshot is stored as plain images. Private to job/. */
#pragma once

#include "base/json.h"
#include "job/manifest.h"

/* Of a manifest of format qcow2, from untrusted storage. INVALID. */
bool vms_manifest_image_parse(VmsJson *disk, VmsManifestDisk *target, GError **error);
bool vms_manifest_files_parse(VmsJson *root, VmsManifest *manifest, GError **error);
