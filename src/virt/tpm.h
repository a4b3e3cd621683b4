/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where libvirt keeps the state of an emulated TPM (swtpm), and whose it is. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Of a definition. *ret_path (transfer full): a directory, or with *ret_is_file a single file; NULL
 * where there is no emulated TPM. It is there once the domain has been started. INVALID. */
bool vms_tpm_state_path(const char *xml, char **ret_path, bool *ret_is_file, GError **error);

/* Who swtpm runs as: swtpm_user and swtpm_group of conf (the text of qemu.conf, nullable), else tss
 * where there is such a user, else root: libvirt's own order. */
void vms_tpm_owner(const char *conf, uid_t *ret_user, gid_t *ret_group);
