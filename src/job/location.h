/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From "s3", "s3://bucket/prefix?endpoint=…", "s3:https://host/bucket/prefix" or "/srv/backup" to a
 * store and a repository. */
#pragma once

#include "job/context.h"
#include "repo/repo.h"

typedef struct {
    VmsStore *store; /* with retries around it */
    VmsRepo *repo;   /* NULL for open_store, and for a place of plain images */
    char *images;    /* id of that place (job/plain.h), set by open_any only */
} VmsLocation;

/* name: configured name, URL or path. NULL: the only configured one. NOT_FOUND lists the configured
 * names. create: a directory store may make its directory (init). */
VmsLocation *vms_location_open_store(VmsContext *context, const char *name, bool create,
                                     GError **error);
/* The same and the repository in it, index in sync. Password: password-file of the configuration,
 * VMSNAP_PASSWORD_FILE, systemd's credential "vmsnap-NAME" or "vmsnap", VMSNAP_PASSWORD. A file
 * that others can read is refused (AUTH). REFUSED for a place of plain images. */
VmsLocation *vms_location_open(VmsContext *context, const char *name, GError **error);
/* The same, or a place of plain images, which needs no password: for those who only read. */
VmsLocation *vms_location_open_any(VmsContext *context, const char *name, GError **error);

/* Makes a new repository there; gives its id in hex (transfer full). REFUSED for a place of plain
 * images. */
char *vms_location_init(VmsContext *context, const char *name, char **ret_location, GError **error);
void vms_location_free(VmsLocation *location);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsLocation, vms_location_free)
