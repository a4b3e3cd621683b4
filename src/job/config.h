/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration file: /etc/vmsnap/vmsnap.conf, or --config, or VMSNAP_CONFIG. INI; every key is
 * checked, an unknown one is refused with file and line.
 *
 *     # all of these are optional
 *     [paths]
 *     state = /var/lib/vmsnap
 *     cache = /var/cache/vmsnap
 *     run = /run/vmsnap
 *
 *     [create]
 *     # seconds
 *     freeze-deadline = 10
 *
 *     [overlays]
 *     growth = auto|off|20G
 *
 *     [export]
 *     limit-upload = 20M
 *     limit-read, compression = auto|off|max, threads, chunk-size
 *
 *     [merge]
 *     # seconds
 *     patience = 60
 *
 *     [repository s3]
 *     url = s3://bucket/prefix
 *     endpoint = https://s3.example.org
 *     region, path-style = auto|yes|no, ca-file, profile, access-key-id, secret-access-key-file
 *     password-file = /etc/vmsnap/s3.password
 */
#pragma once

#include "job/transfer.h"

typedef struct {
    char *name; /* NULL for one given as URL or path on the command line */
    char *url;
    char *endpoint, *region, *path_style, *ca_file, *profile, *access_key_id,
        *secret_access_key_file, *password_file; /* nullable */
} VmsConfigRepository;

typedef struct {
    char *file; /* nullable: none was read */
    char *state_dir, *cache_dir, *run_dir;
    int freeze_deadline_s;
    int merge_patience_s; /* for a guest that writes faster than it is merged, before each step */
    uint64_t growth;      /* of overlays, bytes (job/growth.h) */
    VmsTransfer transfer;
    GPtrArray *repositories; /* of VmsConfigRepository* in file order */
} VmsConfig;

/* path NULL: VMSNAP_CONFIG, else the default file, which may be missing. USAGE with file:line. */
VmsConfig *vms_config_load(const char *path, GError **error);
void vms_config_free(VmsConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsConfig, vms_config_free)
