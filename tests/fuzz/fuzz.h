/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every fuzz target includes. A target is one function that gives any bytes to one parser;
 * what is wrong is a crash, a sanitizer's finding, a failed assertion or a time-out. It is linked
 * with libFuzzer, which makes up inputs, or with replay.c, which reads files. */
#pragma once

#include "base/error.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A call either worked or says why not, as one of our errors with a message; never both. */
G_GNUC_UNUSED static inline bool fuzz_settled(bool ok, GError **error)
{
    g_assert_true(ok == (*error == NULL));
    if (!ok) {
        g_assert_true((*error)->domain == VMS_ERROR);
        g_assert_cmpstr((*error)->message, !=, "");
    }
    g_clear_error(error);
    return ok;
}

/* The bytes as a text of their own, NUL-terminated, so that reading beyond is seen. */
G_GNUC_UNUSED static inline char *fuzz_text(const uint8_t *data, size_t len)
{
    char *text = g_malloc(len + 1);
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

/* A file in memory with these bytes. */
G_GNUC_UNUSED static inline int fuzz_file(const uint8_t *data, size_t len)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        g_assert_cmpint(n, >, 0);
        done += (size_t)n;
    }
    return fd;
}
