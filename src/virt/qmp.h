/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's monitor protocol through libvirt, and the part of it that is about migration. libvirt
 * marks a domain that was spoken to like this as tainted (custom-monitor). Replies are those of
 * QEMU's qapi/migration.json. */
#pragma once

#include "base/json.h"
#include "virt/conn.h"

/* Runs one command, a JSON object. fd: passed along, -1 for none. *ret_reply (nullable): the whole
 * reply, whose member "return" is the answer. FAILED with QEMU's own words where it refuses;
 * UNSUPPORTED where a descriptor cannot be passed (libvirt of another host). */
bool vms_qmp_run(virDomainPtr domain, const char *command, int fd, VmsJson **ret_reply,
                 GError **error);

/* Gives fd to QEMU under name, for a command that refers to it. */
bool vms_qmp_give_fd(virDomainPtr domain, const char *name, int fd, GError **error);

typedef enum {
    VMS_MIGRATION_NONE,      /* none since QEMU started */
    VMS_MIGRATION_RUNNING,   /* being set up, active, being cancelled … */
    VMS_MIGRATION_COMPLETED, /* the last one, as the next two */
    VMS_MIGRATION_FAILED,
    VMS_MIGRATION_CANCELLED
} VmsMigrationState;

typedef struct {
    VmsMigrationState state;
    uint64_t pages;      /* written so far, zero pages with them */
    uint64_t bytes_done; /* of the guest's memory */
    uint64_t bytes_total;
    char *reason; /* nullable: of a failure */
} VmsMigration;

bool vms_qmp_migration(virDomainPtr domain, VmsMigration *ret_migration, GError **error);
void vms_qmp_migration_clear(VmsMigration *migration);
bool vms_qmp_migrate_cancel(virDomainPtr domain, GError **error);

/* Migration capabilities that are on, NULL-terminated. */
char **vms_qmp_capabilities(virDomainPtr domain, GError **error);
bool vms_qmp_set_capability(virDomainPtr domain, const char *name, bool on, GError **error);

/* "{"execute":"migrate-set-capabilities",…}" without a blank in it. */
char *vms_qmp_capability_command(const char *name, bool on);

/* Is the guest stopped, as QEMU sees it? */
bool vms_qmp_is_stopped(virDomainPtr domain, bool *ret_stopped, GError **error);

/* Was it stopped by request, and not by QEMU itself, for the end of a migration say? */
bool vms_qmp_is_paused(virDomainPtr domain, bool *ret_paused, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmsMigration, vms_qmp_migration_clear)
