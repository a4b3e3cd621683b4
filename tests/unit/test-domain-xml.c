/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read out of a domain's XML, and what a restored copy's XML says: a copy that names
 * anything of the original's would write to it (P3), or not start beside it. */
#include "base/error.h"
#include "virt/define.h"
#include "virt/disk-xml.h"
#include "virt/facts-xml.h"
#include "virt/xml.h"

#include <glib/gstdio.h>
#include <string.h>

static char *load(const char *name)
{
    g_autofree char *path = g_build_filename(VMS_TEST_DATA, "valid", name, NULL);
    g_autoptr(GError) error = NULL;
    char *text = NULL;
    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static VmsFacts *facts_of(const char *xml)
{
    g_autoptr(GError) error = NULL;
    VmsFacts *facts = vms_facts_new();
    facts->xml = g_strdup(xml);
    vms_facts_parse(facts, &error);
    g_assert_no_error(error);
    return facts;
}

/* --- facts --- */

static void test_facts(void)
{
    g_autofree char *xml = load("domain-live.xml");
    g_autoptr(VmsFacts) facts = facts_of(xml);
    g_assert_cmpstr(facts->name, ==, "web01");
    g_assert_cmpstr(facts->uuid, ==, "8a4fc13e-dbeb-4c97-ae2c-c91be22377d1");
    g_assert_cmpuint(facts->memory, ==, UINT64_C(2) << 30);
    g_assert_cmpuint(facts->vcpus, ==, 4);
    g_assert_true(facts->has_agent);
    g_assert_true(facts->agent_connected);
    g_assert_cmpstr(facts->nvram, ==, "/var/lib/libvirt/qemu/nvram/web01_VARS.fd");
    g_assert_true(facts->has_tpm);
    g_assert_cmpuint(facts->disks->len, ==, 7);
    g_assert_cmpuint(g_strv_length(facts->blockers), ==, 0);
}

static void test_facts_of_little(void)
{
    g_autofree char *xml = load("domain-off.xml");
    g_autoptr(VmsFacts) facts = facts_of(xml);
    g_assert_false(facts->has_agent);
    g_assert_false(facts->has_tpm);
    g_assert_null(facts->nvram);
    const VmsDisk *disk = vms_facts_disk(facts, "hda");
    g_assert_nonnull(disk);
    g_assert_cmpstr(disk->device, ==, "disk");
    g_assert_cmpstr(disk->source, ==, "/srv/plain.raw");
    g_assert_null(disk->format); /* never guessed */
    g_assert_cmpuint(disk->backing->len, ==, 0);
}

static void test_disks(void)
{
    static const struct {
        const char *target;
        VmsDiskSourceType type;
        const char *source, *format, *device;
        bool readonly, shareable, transient, encrypted;
        guint backing;
    } expected[] = {
        {"vda", VMS_DISK_FILE, "/srv/images/web01-a&b.snap2.qcow2", "qcow2", "disk", 0, 0, 0, 0, 2},
        {"sdb", VMS_DISK_BLOCK, "/dev/vg/data", "raw", "disk", 0, 1, 0, 0, 0},
        {"vdc", VMS_DISK_NETWORK, "rbd:pool/volume", "raw", "disk", 0, 0, 0, 0, 0},
        {"sda", VMS_DISK_FILE, "/srv/iso/install.iso", "raw", "cdrom", 1, 0, 0, 0, 0},
        {"sdc", VMS_DISK_FILE, NULL, NULL, "cdrom", 1, 0, 0, 0, 0},
        {"vdd", VMS_DISK_FILE, "/srv/images/secret.qcow2", "qcow2", "disk", 0, 0, 1, 1, 0},
    };
    g_autofree char *xml = load("domain-live.xml");
    g_autoptr(VmsFacts) facts = facts_of(xml);
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        const VmsDisk *disk = vms_facts_disk(facts, expected[i].target);
        g_assert_nonnull(disk);
        g_assert_cmpint(disk->source_type, ==, expected[i].type);
        g_assert_cmpstr(disk->source, ==, expected[i].source);
        g_assert_cmpstr(disk->format, ==, expected[i].format);
        g_assert_cmpstr(disk->device, ==, expected[i].device);
        g_assert_cmpint(disk->readonly, ==, expected[i].readonly);
        g_assert_cmpint(disk->shareable, ==, expected[i].shareable);
        g_assert_cmpint(disk->transient, ==, expected[i].transient);
        g_assert_cmpint(disk->encrypted, ==, expected[i].encrypted);
        g_assert_cmpuint(disk->backing->len, ==, expected[i].backing);
    }
    const VmsDisk *chain = vms_facts_disk(facts, "vda"); /* without the mirror of a job */
    g_assert_cmpstr(chain->backing->pdata[0], ==, "/srv/images/web01.snap1.qcow2");
    g_assert_cmpstr(chain->backing->pdata[1], ==, "/dev/vg/web01");
    g_assert_cmpint(vms_facts_disk(facts, "vde")->source_type, ==, VMS_DISK_OTHER);
    g_assert_null(vms_facts_disk(facts, "vdz"));
}

static void test_blockers(void)
{
    static const struct {
        const char *device, *kind;
    } cases[] = {
        {"<hostdev mode='subsystem' type='pci'/>", "hostdev"},
        {"<hostdev mode='subsystem' type='mdev'/>", "hostdev"},
        {"<hostdev mode='capabilities' type='misc'/>", "hostdev"},
        {"<hostdev mode='subsystem' type='usb'/>", NULL},
        {"<hostdev mode='subsystem' type='pci'><teaming type='transient'/></hostdev>", NULL},
        {"<interface type='hostdev'/>", "hostdev"},
        {"<interface type='vhostuser'/>", "vhost-user"},
        {"<interface type='vdpa'/>", "vdpa"},
        {"<interface type='bridge'/>", NULL},
        {"<filesystem><driver type='virtiofs'/></filesystem>", "virtiofs"},
        {"<filesystem type='mount'/>", "9p"},
        {"<shmem name='x'/>", "shmem"},
        {"<shmem name='x' role='master'/>", NULL},
        {"<tpm><backend type='passthrough'/></tpm>", "tpm"},
        {"<tpm><backend type='emulator'/></tpm>", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *xml = g_strdup_printf(
            "<domain><name>n</name><uuid>u</uuid><devices>%s</devices></domain>", cases[i].device);
        g_autoptr(VmsFacts) facts = facts_of(xml);
        g_test_message("%s", cases[i].device);
        g_assert_cmpuint(g_strv_length(facts->blockers), ==, cases[i].kind ? 1 : 0);
        if (!cases[i].kind)
            continue;
        g_autofree char *prefix = g_strconcat(cases[i].kind, ": ", NULL);
        g_assert_true(g_str_has_prefix(facts->blockers[0], prefix));
    }
}

static void test_bad_xml(void)
{
    static const char *const texts[] = {
        "",
        "<domain>",
        "no xml",
        "<domain/>",
        "<domain><name>x</name></domain>",
        "<domain><name>x</name><uuid>u</uuid><devices><disk type='file'/></devices></domain>",
        "<!DOCTYPE d [<!ENTITY a 'b'>]><domain><name>&c;</name></domain>",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmsFacts) facts = vms_facts_new();
        facts->xml = g_strdup(texts[i]);
        g_assert_false(vms_facts_parse(facts, &error));
        g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
    }
}

/* A file of the host must not get into a definition through an entity. */
static void test_no_entities(void)
{
    g_autofree char *secret = NULL;
    g_autoptr(GError) error = NULL;
    int fd = g_file_open_tmp("vmsnap-xml-XXXXXX", &secret, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_close(fd, NULL);
    g_assert_true(g_file_set_contents(secret, "TOPSECRET", -1, NULL));
    g_autofree char *xml = g_strdup_printf("<!DOCTYPE d [<!ENTITY a SYSTEM 'file://%s'>]>"
                                           "<domain><name>n&a;</name><uuid>u</uuid></domain>",
                                           secret);
    g_autofree char *out = vms_define_rewrite(xml, NULL, false, true, NULL, 0, NULL, &error);
    if (out)
        g_assert_null(strstr(out, "TOPSECRET"));
    g_unlink(secret);
}

/* --- the definition of a copy --- */

static const VmsNewDisk new_disks[] = {
    {"vda", "/new/a<b&c'.qcow2", "qcow2"},
    {"sdb", "/new/data.raw", "raw"},
};

static xmlDocPtr rewrite(const char *name, bool new_identity, bool keep_macs, const char *nvram)
{
    g_autofree char *xml = load("domain-live.xml");
    g_autoptr(GError) error = NULL;
    g_autofree char *out = vms_define_rewrite(xml, name, new_identity, keep_macs, new_disks,
                                              G_N_ELEMENTS(new_disks), nvram, &error);
    g_assert_no_error(error);
    xmlDocPtr doc = vms_xml_parse(out, &error);
    g_assert_no_error(error);
    return doc;
}

static void expect(xmlDocPtr doc, const char *xpath, const char *value)
{
    g_autofree char *found = vms_xml_string(doc, NULL, xpath);
    g_test_message("%s", xpath);
    g_assert_cmpstr(found, ==, value);
}

static void test_copy(void)
{
    g_autoptr(xmlDoc) doc = rewrite("web02", true, false, NULL);
    g_autofree char *uuid = vms_xml_string(doc, NULL, "/domain/uuid");
    expect(doc, "/domain/name", "web02");
    expect(doc, "/domain/@id", NULL);
    g_assert_true(g_uuid_string_is_valid(uuid));
    g_assert_cmpstr(uuid, !=, "8a4fc13e-dbeb-4c97-ae2c-c91be22377d1");
    expect(doc, "/domain/sysinfo/system/entry[@name='uuid']", uuid); /* libvirt compares them */
    expect(doc, "/domain/sysinfo/system/entry[@name='manufacturer']", "Example");
    expect(doc, "//mac", NULL);
    expect(doc, "/domain/os/nvram", ""); /* not the original's variables */
    expect(doc, "/domain/os/nvram/@template", "/usr/share/OVMF/OVMF_VARS_4M.fd");
    expect(doc, "//channel[target/@name='org.qemu.guest_agent.0']/source", NULL);
    expect(doc, "//channel[target/@name='com.example.0']/source/@path",
           "/srv/sockets/web01.sock.web02");
    expect(doc, "//serial/log/@file", "/var/log/web01.log.web02");
    expect(doc, "//console/@tty", NULL);
    expect(doc, "//serial/source", NULL);
    expect(doc, "//interface/target[@dev='vnet3']", NULL);
    expect(doc, "//graphics/@port", NULL);
    expect(doc, "//graphics/@autoport", "yes");
    expect(doc, "/domain/seclabel/@model", "dac"); /* the static one stays */
    expect(doc, "/domain/seclabel[2]", NULL);
    expect(doc, "//tpm/backend/@type", "emulator");
    expect(doc, "/domain/metadata/*[local-name()='owner']", "sales & more");
    expect(doc, "/domain/vcpu", "4");
}

static void test_copy_disks(void)
{
    g_autoptr(xmlDoc) doc = rewrite("web02", true, false, NULL);
    expect(doc, "//disk[target/@dev='vda']/source/@file", "/new/a<b&c'.qcow2");
    expect(doc, "//disk[target/@dev='vda']/source/@index", NULL);
    expect(doc, "//disk[target/@dev='vda']/source/seclabel", NULL);
    expect(doc, "//disk[target/@dev='vda']/driver/@type", "qcow2");
    expect(doc, "//disk[target/@dev='vda']/driver/@discard", "unmap");
    expect(doc, "//disk[target/@dev='vda']/address/@bus", "0x04"); /* as the guest knows it */
    expect(doc, "//disk[target/@dev='sdb']/@type", "file");
    expect(doc, "//disk[target/@dev='sdb']/source/@file", "/new/data.raw");
    expect(doc, "//disk[target/@dev='sdb']/source/@dev", NULL);
    expect(doc, "//disk[target/@dev='sdb']/alias/@name", "ua-data");
    expect(doc, "//backingStore", NULL);
    expect(doc, "//mirror", NULL);
    expect(doc, "//disk[target/@dev='vdc']", NULL); /* not part of the snapshot: the original's */
    expect(doc, "//disk[target/@dev='vdd']", NULL);
    expect(doc, "//disk[target/@dev='sda']/@device", "cdrom");
    expect(doc, "//disk[target/@dev='sda']/source", NULL);
}

/* With memory the guest knows its MACs; with the same identity everything that is not of one run
 * stays. */
static void test_same_identity(void)
{
    g_autoptr(xmlDoc) copy = rewrite("web02", true, true, "/new/nvram.fd");
    g_autoptr(xmlDoc) same = rewrite(NULL, false, true, NULL);
    expect(copy, "//interface[1]/mac/@address", "52:54:00:11:22:33");
    expect(copy, "/domain/os/nvram", "/new/nvram.fd");
    expect(same, "/domain/name", "web01");
    expect(same, "/domain/uuid", "8a4fc13e-dbeb-4c97-ae2c-c91be22377d1");
    expect(same, "/domain/os/nvram", "/var/lib/libvirt/qemu/nvram/web01_VARS.fd");
    expect(same, "//channel[target/@name='com.example.0']/source/@path", "/srv/sockets/web01.sock");
    expect(same, "//disk[target/@dev='sdb']/source/@file", "/new/data.raw");
}

static void test_uuid(void)
{
    g_autofree char *xml = load("domain-live.xml");
    g_autofree char *first = vms_define_uuid(xml, NULL);
    g_autofree char *out = vms_define_set_uuid(xml, "99999999-0000-4000-8000-000000000009", NULL);
    g_autofree char *second = vms_define_uuid(out, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_cmpstr(first, ==, "8a4fc13e-dbeb-4c97-ae2c-c91be22377d1");
    g_assert_cmpstr(second, ==, "99999999-0000-4000-8000-000000000009");
    g_autoptr(xmlDoc) doc = vms_xml_parse(out, NULL);
    expect(doc, "/domain/sysinfo/system/entry[@name='uuid']", second);
    g_assert_null(vms_define_uuid("<domain/>", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_INVALID));
}

/* --- an overlay in a definition, of a domain that is off --- */

static void test_push_and_pop(void)
{
    g_autofree char *xml = load("domain-live.xml");
    g_autoptr(GError) error = NULL;
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, &error);
    g_autoptr(VmsOverlay) overlay =
        vms_overlay_new("sdb", "/dev/vg/data", "raw", "/overlays/sdb&.qcow2");
    xmlNodePtr disk = vms_disk_xml_find(doc, "sdb");
    g_assert_nonnull(disk);
    g_assert_null(vms_disk_xml_find(doc, "nothing"));
    vms_disk_xml_push(disk, overlay);
    expect(doc, "//disk[target/@dev='sdb']/@type", "file");
    expect(doc, "//disk[target/@dev='sdb']/source/@file", "/overlays/sdb&.qcow2");
    expect(doc, "//disk[target/@dev='sdb']/driver/@type", "qcow2");
    expect(doc, "//disk[target/@dev='sdb']/driver/@io", "native");
    expect(doc, "//disk[target/@dev='sdb']/backingStore/@type", "block");
    expect(doc, "//disk[target/@dev='sdb']/backingStore/format/@type", "raw");
    expect(doc, "//disk[target/@dev='sdb']/backingStore/source/@dev", "/dev/vg/data");
    vms_disk_xml_pop(disk, overlay);
    expect(doc, "//disk[target/@dev='sdb']/@type", "block");
    expect(doc, "//disk[target/@dev='sdb']/source/@dev", "/dev/vg/data");
    expect(doc, "//disk[target/@dev='sdb']/source/@file", NULL);
    expect(doc, "//disk[target/@dev='sdb']/driver/@type", "raw");
    expect(doc, "//disk[target/@dev='sdb']/backingStore/source", NULL);
}

/* libvirt may have left the chain out of the definition. */
static void test_pop_without_chain(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(xmlDoc) doc =
        vms_xml_parse("<domain><devices><disk type='file'><driver type='qcow2'/>"
                      "<source file='/o.qcow2'/><target dev='vda'/></disk></devices></domain>",
                      &error);
    g_autoptr(VmsOverlay) overlay = vms_overlay_new("vda", "/base.raw", "raw", "/o.qcow2");
    vms_disk_xml_pop(vms_disk_xml_find(doc, "vda"), overlay);
    expect(doc, "//disk/source/@file", "/base.raw");
    expect(doc, "//disk/driver/@type", "raw");
    expect(doc, "//disk/@type", "file");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/facts/all", test_facts);
    g_test_add_func("/facts/little", test_facts_of_little);
    g_test_add_func("/facts/disks", test_disks);
    g_test_add_func("/facts/blockers", test_blockers);
    g_test_add_func("/facts/bad-xml", test_bad_xml);
    g_test_add_func("/define/no-entities", test_no_entities);
    g_test_add_func("/define/copy", test_copy);
    g_test_add_func("/define/copy-disks", test_copy_disks);
    g_test_add_func("/define/same-identity", test_same_identity);
    g_test_add_func("/define/uuid", test_uuid);
    g_test_add_func("/disk/push-and-pop", test_push_and_pop);
    g_test_add_func("/disk/pop-without-chain", test_pop_without_chain);
    return g_test_run();
}
