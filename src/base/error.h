/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one error domain. A code says what the caller can do about it; the message says what
 * happened. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#define VMS_ERROR (vms_error_quark())

typedef enum {
    VMS_ERROR_FAILED,      /* none of the others: tell the operator */
    VMS_ERROR_USAGE,       /* the command line or configuration is wrong */
    VMS_ERROR_NOT_FOUND,   /* the named thing does not exist */
    VMS_ERROR_EXISTS,      /* the target exists and is left alone */
    VMS_ERROR_INVALID,     /* input from outside is malformed */
    VMS_ERROR_REFUSED,     /* possible in general, not in this state: change the state */
    VMS_ERROR_CORRUPT,     /* stored data is not what was written */
    VMS_ERROR_LOCKED,      /* somebody else works on it: wait and run again */
    VMS_ERROR_AUTH,        /* credentials, keys or permissions */
    VMS_ERROR_NO_SPACE,    /* free some space and run again */
    VMS_ERROR_TRANSIENT,   /* the same call may work in a moment; the only code that is retried */
    VMS_ERROR_UNSUPPORTED, /* this host, version or format cannot do it */
    VMS_ERROR_CANCELLED,   /* interrupted by the user and undone */
    VMS_ERROR_NOT_EXPORTED /* captured on this host, but not in a repository */
} VmsErrorCode;

GQuark vms_error_quark(void);

/* Sets *error (nullable) and returns false, so that an error path is one line. */
bool vms_fail(GError **error, VmsErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Same, returning NULL, for functions that return a pointer. */
void *vms_fail_null(GError **error, VmsErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Converts errno: ENOENT, EEXIST, EACCES/EPERM, ENOSPC/EDQUOT become their codes; appends strerror.
 */
bool vms_fail_errno(GError **error, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Of the words of another program: NO_SPACE where it lacked room or quota, else FAILED. */
VmsErrorCode vms_error_code_of_text(const char *text);

/* Puts "PREFIX: " before the message of *error; returns false. Each layer prefixes once. */
bool vms_prefix(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Replaces a GLib/GIO error in *error by one of ours with the nearest code; returns false. */
bool vms_convert(GError **error);

/* False with CANCELLED if cancellable (nullable) is cancelled. */
bool vms_check_cancelled(GCancellable *cancellable, GError **error);

bool vms_error_is(const GError *error, VmsErrorCode code);

/* "not-found", "no-space" …: the stable name used in --json. Other domains give "failed". */
const char *vms_error_name(const GError *error);

/* The exit status of DESIGN §10; 0 for NULL. */
int vms_error_exit_status(const GError *error);
