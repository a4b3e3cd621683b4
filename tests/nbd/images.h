/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images to read and places to write for the block tests. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A fresh directory; images_path names a file in it (transfer full). */
void images_setup(void);
void images_teardown(void);
char *images_path(const char *name);

/* Runs qemu-img or qemu-io with the given arguments; the test fails where it fails. */
void images_run(const char *program, ...) G_GNUC_NULL_TERMINATED;

/* The process id of the only qemu-nbd that is our child; 0 where there is none. */
pid_t images_server_pid(void);

/* Is there a process pid that is not a zombie? */
bool images_is_alive(pid_t pid);

/* Bytes that blocks of path take on disk. */
uint64_t images_allocated(const char *path);

/* A tmpfs of so many bytes mounted in a mount namespace of our own; NULL where that is not
 * permitted. */
char *images_small_fs(const char *name, uint64_t bytes);
