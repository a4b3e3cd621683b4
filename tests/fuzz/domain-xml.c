/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A definition: libvirt's own, or what a snapshot brought along. */
#include "fuzz.h"
#include "virt/define.h"
#include "virt/disk-xml.h"
#include "virt/facts-xml.h"
#include "virt/tpm.h"

static void copies(const char *text)
{
    static const VmsNewDisk disks[] = {{"vda", "/new/vda.qcow2", "qcow2"}};
    for (int i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *copy = vms_define_rewrite(text, i & 1 ? "copy" : NULL, i & 1, i & 2, disks,
                                                   1, i & 2 ? "/new/VARS.fd" : NULL, &error);
        if (!fuzz_settled(copy != NULL, &error))
            continue;
        g_autofree char *uuid = vms_define_uuid(copy, &error);
        fuzz_settled(uuid != NULL, &error);
        g_autofree char *other =
            vms_define_set_uuid(copy, "11111111-2222-3333-4444-555555555555", &error);
        fuzz_settled(other != NULL, &error);
    }
}

static void push_and_pop(const char *text)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(text, NULL);
    xmlNodePtr disk = doc ? vms_disk_xml_find(doc, "vda") : NULL;
    g_autofree char *source = disk ? vms_disk_xml_source(disk) : NULL;
    if (!source)
        return;
    VmsOverlay *overlay = vms_overlay_new("vda", source, "raw", "/o.qcow2");
    vms_disk_xml_push(disk, overlay);
    g_autofree char *above = vms_disk_xml_source(disk);
    vms_disk_xml_pop(disk, overlay);
    g_autofree char *again = vms_disk_xml_source(disk);
    g_assert_cmpstr(above, ==, "/o.qcow2");
    g_assert_cmpstr(again, ==, source);
    vms_overlay_free(overlay);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len), *tpm = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsFacts) facts = vms_facts_new();
    bool is_file;
    facts->xml = g_strdup(text);
    fuzz_settled(vms_facts_parse(facts, &error), &error);
    fuzz_settled(vms_tpm_state_path(text, &tpm, &is_file, &error), &error);
    copies(text);
    push_and_pop(text);
    return 0;
}
