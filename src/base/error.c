/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <errno.h>
#include <string.h>

G_DEFINE_QUARK(vms - error - quark, vms_error)

/* One row per code: the exit status of DESIGN §10 and the name used in --json. */
static const struct {
    int exit_status;
    const char *name;
} codes[] = {
    [VMS_ERROR_FAILED] = {1, "failed"},
    [VMS_ERROR_USAGE] = {2, "usage"},
    [VMS_ERROR_NOT_FOUND] = {4, "not-found"},
    [VMS_ERROR_EXISTS] = {1, "exists"},
    [VMS_ERROR_INVALID] = {1, "invalid"},
    [VMS_ERROR_REFUSED] = {3, "refused"},
    [VMS_ERROR_CORRUPT] = {7, "corrupt"},
    [VMS_ERROR_LOCKED] = {5, "locked"},
    [VMS_ERROR_AUTH] = {8, "auth"},
    [VMS_ERROR_NO_SPACE] = {9, "no-space"},
    [VMS_ERROR_TRANSIENT] = {1, "transient"},
    [VMS_ERROR_UNSUPPORTED] = {1, "unsupported"},
    [VMS_ERROR_CANCELLED] = {130, "cancelled"},
    [VMS_ERROR_NOT_EXPORTED] = {6, "not-exported"},
};

static void set_valist(GError **error, VmsErrorCode code, const char *format, va_list args)
{
    if (error)
        *error = g_error_new_valist(VMS_ERROR, code, format, args);
}

bool vms_fail(GError **error, VmsErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_valist(error, code, format, args);
    va_end(args);
    return false;
}

void *vms_fail_null(GError **error, VmsErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_valist(error, code, format, args);
    va_end(args);
    return NULL;
}

static VmsErrorCode code_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return VMS_ERROR_NOT_FOUND;
    case EEXIST:
        return VMS_ERROR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return VMS_ERROR_AUTH;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return VMS_ERROR_NO_SPACE;
    default:
        return VMS_ERROR_FAILED;
    }
}

bool vms_fail_errno(GError **error, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return vms_fail(error, code_from_errno(errnum), "%s: %s", text, g_strerror(errnum));
}

VmsErrorCode vms_error_code_of_text(const char *text)
{
    static const int numbers[] = {ENOSPC, EDQUOT};
    static const char *const words[] = {"No space left on device", "Disk quota exceeded"};
    for (size_t i = 0; text && i < G_N_ELEMENTS(numbers); i++)
        if (strstr(text, words[i]) || strstr(text, g_strerror(numbers[i])))
            return VMS_ERROR_NO_SPACE;
    return VMS_ERROR_FAILED;
}

bool vms_prefix(GError **error, const char *format, ...)
{
    if (!error || !*error)
        return false;
    va_list args;
    va_start(args, format);
    g_autofree char *prefix = g_strdup_vprintf(format, args);
    va_end(args);
    char *message = g_strdup_printf("%s: %s", prefix, (*error)->message);
    g_free((*error)->message);
    (*error)->message = message;
    return false;
}

static VmsErrorCode code_from_gio(int code)
{
    switch (code) {
    case G_IO_ERROR_NOT_FOUND:
        return VMS_ERROR_NOT_FOUND;
    case G_IO_ERROR_EXISTS:
        return VMS_ERROR_EXISTS;
    case G_IO_ERROR_NO_SPACE:
        return VMS_ERROR_NO_SPACE;
    case G_IO_ERROR_PERMISSION_DENIED:
    case G_IO_ERROR_READ_ONLY:
        return VMS_ERROR_AUTH;
    case G_IO_ERROR_CANCELLED:
        return VMS_ERROR_CANCELLED;
    default:
        return VMS_ERROR_FAILED;
    }
}

static VmsErrorCode code_from_file(int code)
{
    switch (code) {
    case G_FILE_ERROR_NOENT:
    case G_FILE_ERROR_NOTDIR:
        return VMS_ERROR_NOT_FOUND;
    case G_FILE_ERROR_EXIST:
        return VMS_ERROR_EXISTS;
    case G_FILE_ERROR_NOSPC:
        return VMS_ERROR_NO_SPACE;
    case G_FILE_ERROR_ACCES:
    case G_FILE_ERROR_PERM:
    case G_FILE_ERROR_ROFS:
        return VMS_ERROR_AUTH;
    default:
        return VMS_ERROR_FAILED;
    }
}

bool vms_convert(GError **error)
{
    if (!error || !*error || (*error)->domain == VMS_ERROR)
        return false;
    VmsErrorCode code = VMS_ERROR_FAILED;
    if ((*error)->domain == G_IO_ERROR)
        code = code_from_gio((*error)->code);
    else if ((*error)->domain == G_FILE_ERROR)
        code = code_from_file((*error)->code);
    (*error)->domain = VMS_ERROR;
    (*error)->code = code;
    return false;
}

bool vms_check_cancelled(GCancellable *cancellable, GError **error)
{
    if (!cancellable || !g_cancellable_is_cancelled(cancellable))
        return true;
    return vms_fail(error, VMS_ERROR_CANCELLED, "interrupted");
}

bool vms_error_is(const GError *error, VmsErrorCode code)
{
    return g_error_matches(error, VMS_ERROR, (int)code);
}

static VmsErrorCode code_of(const GError *error)
{
    bool ours =
        error->domain == VMS_ERROR && error->code >= 0 && (size_t)error->code < G_N_ELEMENTS(codes);
    return ours ? (VmsErrorCode)error->code : VMS_ERROR_FAILED;
}

const char *vms_error_name(const GError *error)
{
    return codes[code_of(error)].name;
}

int vms_error_exit_status(const GError *error)
{
    return error ? codes[code_of(error)].exit_status : 0;
}
