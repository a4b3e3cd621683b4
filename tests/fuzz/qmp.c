/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's monitor and the guest's agent answer: this program's own functions stand where
 * libvirt's would ask them. */
#include "virt/qmp.h"
#include "fuzz.h"
#include "virt/image.h"
#include "virt/quiesce.h"

#include <libvirt/libvirt-qemu.h>

static const char *answer;

int virDomainQemuMonitorCommand(virDomainPtr domain, const char *command, char **ret_reply,
                                unsigned flags)
{
    *ret_reply = strdup(answer);
    return 0;
}

char *virDomainQemuAgentCommand(virDomainPtr domain, const char *command, int timeout,
                                unsigned flags)
{
    return strdup(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsJson) reply = NULL;
    g_auto(VmsMigration) migration = {0};
    bool flag;
    answer = text;
    fuzz_settled(vms_qmp_run(NULL, "{}", -1, &reply, &error), &error);
    if (fuzz_settled(vms_qmp_migration(NULL, &migration, &error), &error))
        g_assert_cmpuint(migration.bytes_done, <=, migration.bytes_total);
    g_auto(GStrv) on = vms_qmp_capabilities(NULL, &error);
    fuzz_settled(on != NULL, &error);
    fuzz_settled(vms_qmp_is_stopped(NULL, &flag, &error), &error);
    fuzz_settled(vms_quiesce_is_frozen(NULL, 1, &flag, &error), &error);
    g_autoptr(GPtrArray) layers = vms_layers_parse(text); /* of the catalog */
    g_autofree char *lines = layers ? vms_layers_to_text(layers) : NULL;
    g_autoptr(GPtrArray) same = lines ? vms_layers_parse(lines) : NULL;
    g_assert_true(!layers || vms_layers_equal(layers, 0, same, false));
    return 0;
}
