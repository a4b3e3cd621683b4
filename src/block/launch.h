/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of block/: what it takes to start qemu-nbd, and the child's side of the fork. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char **argv;
    char **envp;
    char listen_pid[32]; /* "LISTEN_PID=" and the digits the child puts in; last in envp */
    int listen_fd;
    int stderr_pipe[2];
    int image_fd; /* borrowed: see vms_launch_new */
} VmsLaunch;

/* path: of the image, absolute. image_fd: -1 where it is opened by that, to be read; otherwise what
 * is written to, until the fork, and path is for messages. more: further options, NULL-terminated,
 * nullable. Makes the listening socket; *ret_socket_path: an O_PATH descriptor of its name
 * (transfer full). NOT_FOUND where qemu-nbd is not installed. */
VmsLaunch *vms_launch_new(const char *path, const char *format, int image_fd,
                          const char *const *more, int *ret_socket_path, GError **error);
void vms_launch_free(VmsLaunch *launch);

/* After fork, in the child; parent: pid of the process that forked. */
G_NORETURN void vms_launch_child(VmsLaunch *launch, pid_t parent);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsLaunch, vms_launch_free)
