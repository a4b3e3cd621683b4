/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a repository is, as an operator writes it:
 *
 *     /srv/backup   ./backup   file:/srv/backup
 *     s3://BUCKET[/PREFIX][?OPTION=VALUE[&…]]
 *     s3:https://HOST[:PORT]/BUCKET[/PREFIX][?…]     also s3:http://
 *
 * Options: endpoint, region, path-style (auto, yes, no), ca-file, profile; values percent-encoded.
 * Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *path;                                    /* of a directory store; NULL: S3 */
    char *bucket, *prefix;                         /* prefix "" where there is none */
    char *endpoint;                                /* with scheme; NULL: AWS */
    char *region, *path_style, *ca_file, *profile; /* nullable */
} VmsLocationUrl;

/* USAGE says what is wrong. A path is made absolute and canonical. */
VmsLocationUrl *vms_location_url_parse(const char *text, GError **error);
void vms_location_url_free(VmsLocationUrl *url);

/* True where text cannot be the name of a configured repository: it has a slash or a colon. */
bool vms_location_url_looks(const char *text);

/* The text that parses to the same, or to the same without region, path-style, ca-file and profile
 * (transfer full). There are no secrets in it. */
char *vms_location_url_text(const VmsLocationUrl *url, bool with_options);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsLocationUrl, vms_location_url_free)
