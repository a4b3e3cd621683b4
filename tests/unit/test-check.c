/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reasons that check gives, of definitions and hosts that no test machine has. */
#include "virt/check-cow.h"
#include "virt/facts-xml.h"

#include <string.h>

typedef struct {
    VmsFacts *facts;
    VmsCheckOptions options;
    VmsCheck *check;
} Asked;

/* About memory, of a running domain whose definition has this in it. There is no domain to ask:
 * what needs one is not asked for. */
static Asked *ask(const char *type, const char *top, const char *devices, VmsCheckMemory memory,
                  int state)
{
    g_autoptr(GError) error = NULL;
    Asked *asked = g_new0(Asked, 1);
    asked->facts = vms_facts_new();
    asked->facts->xml = g_strdup_printf("<domain type='%s'><name>web01</name>"
                                        "<uuid>8a4fc13e-dbeb-4c97-ae2c-c91be22377d1</uuid>%s"
                                        "<devices>%s</devices></domain>",
                                        type, top, devices);
    vms_facts_parse(asked->facts, &error);
    g_assert_no_error(error);
    asked->facts->active = true;
    asked->facts->state = state;
    asked->options.memory = memory;
    asked->check = g_new0(VmsCheck, 1);
    asked->check->findings = g_ptr_array_new();
    asked->check->disks = g_ptr_array_new();
    VmsChecking c = {.facts = asked->facts, .options = &asked->options, .check = asked->check};
    vms_check_memory(&c);
    return asked;
}

static void done(Asked *asked)
{
    for (guint i = 0; i < asked->check->findings->len; i++) {
        VmsFinding *finding = asked->check->findings->pdata[i];
        g_free(finding->sentence);
        g_free(finding->remedy);
        g_free(finding);
    }
    vms_check_free(asked->check);
    vms_facts_free(asked->facts);
    g_free(asked);
}

static void expect_only(const Asked *asked, const char *code, VmsFindingSeverity severity)
{
    g_assert_cmpuint(asked->check->findings->len, ==, 1);
    const VmsFinding *finding = asked->check->findings->pdata[0];
    g_assert_cmpstr(finding->code, ==, code);
    g_assert_cmpint(finding->severity, ==, severity);
    g_assert_nonnull(finding->remedy);
}

static void test_blocked(void)
{
    static const struct {
        const char *top, *devices, *code;
    } cases[] = {
        {"", "<hostdev mode='subsystem' type='pci'/>", "memory-blocked-hostdev"},
        {"", "<hostdev mode='subsystem' type='mdev'/>", "memory-blocked-hostdev"},
        {"", "<interface type='hostdev'/>", "memory-blocked-hostdev"},
        {"", "<disk type='nvme' device='disk'><target dev='vda'/></disk>",
         "memory-blocked-hostdev"},
        {"", "<interface type='vhostuser'/>", "memory-blocked-vhost-user"},
        {"", "<disk type='vhostuser'><target dev='vda'/></disk>", "memory-blocked-vhost-user"},
        {"", "<interface type='vdpa'/>", "memory-blocked-vdpa"},
        {"", "<filesystem><driver type='virtiofs'/></filesystem>", "memory-blocked-virtiofs"},
        {"", "<filesystem type='mount'/>", "memory-blocked-9p"},
        {"", "<shmem name='x'/>", "memory-blocked-shmem"},
        {"", "<tpm><backend type='passthrough'/></tpm>", "memory-blocked-tpm"},
        {"<launchSecurity type='sev'><policy>0x0001</policy></launchSecurity>", "",
         "memory-blocked-launch-security"},
        {"<launchSecurity type='sev-snp'/>", "", "memory-blocked-launch-security"},
        {"<launchSecurity type='tdx'/>", "", "memory-blocked-launch-security"},
        {"<cpu><feature policy='require' name='invtsc'/></cpu>", "", "memory-blocked-invtsc"},
    };
    static const VmsCheckMemory wanted[] = {VMS_CHECK_MEMORY_COW, VMS_CHECK_MEMORY_LIVE,
                                            VMS_CHECK_MEMORY_AUTO};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (size_t j = 0; j < G_N_ELEMENTS(wanted); j++) {
            g_test_message("%s%s", cases[i].top, cases[i].devices);
            Asked *asked =
                ask("kvm", cases[i].top, cases[i].devices, wanted[j], VIR_DOMAIN_RUNNING);
            expect_only(asked, cases[i].code,
                        wanted[j] == VMS_CHECK_MEMORY_AUTO ? VMS_FINDING_WARNING
                                                           : VMS_FINDING_REFUSAL);
            g_assert_cmpint(asked->check->engine, ==, VMS_CHECK_ENGINE_NONE);
            done(asked);
        }
}

/* What looks like one of those and is none. */
static void test_not_blocked(void)
{
    static const struct {
        const char *top, *devices;
    } cases[] = {
        {"", "<hostdev mode='subsystem' type='usb'/>"},
        {"", "<interface type='hostdev'><teaming type='transient' persistent='ua-0'/></interface>"},
        {"", "<interface type='bridge'><driver name='vhost'/></interface>"},
        {"", "<shmem name='x' role='master'/>"},
        {"<cpu><feature policy='require' name='invtsc'/></cpu>"
         "<clock offset='utc'><timer name='tsc' frequency='2000000000'/></clock>",
         ""},
        {"<os firmware='efi'><firmware><feature enabled='yes' name='secure-boot'/></firmware></os>"
         "<features><smm state='on'/></features>",
         ""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s%s", cases[i].top, cases[i].devices);
        Asked *asked =
            ask("kvm", cases[i].top, cases[i].devices, VMS_CHECK_MEMORY_LIVE, VIR_DOMAIN_RUNNING);
        g_assert_cmpuint(asked->check->findings->len, ==, 0);
        g_assert_cmpint(asked->check->engine, ==, VMS_CHECK_ENGINE_LIVE);
        done(asked);
    }
}

/* QEMU without KVM can miss a page while memory is saved live: not of a guest that stands still. */
static void test_emulated(void)
{
    Asked *asked = ask("qemu", "", "", VMS_CHECK_MEMORY_LIVE, VIR_DOMAIN_RUNNING);
    expect_only(asked, "memory-emulated-live", VMS_FINDING_WARNING);
    g_assert_cmpint(asked->check->engine, ==, VMS_CHECK_ENGINE_LIVE);
    done(asked);
    asked = ask("qemu", "", "", VMS_CHECK_MEMORY_LIVE, VIR_DOMAIN_PAUSED);
    expect_only(asked, "memory-paused", VMS_FINDING_WARNING);
    done(asked);
    asked = ask("qemu", "", "", VMS_CHECK_MEMORY_NONE, VIR_DOMAIN_RUNNING);
    g_assert_cmpuint(asked->check->findings->len, ==, 0);
    done(asked);
}

/* --- userfaultfd --- */

static void test_userfaultfd(void)
{
    static const struct {
        VmsUserfaultfd found;
        const char *why, *remedy;
    } cases[] = {
        {{.kernel = false}, "kernel does not have it", "CONFIG_USERFAULTFD"},
        {{.kernel = true}, "no /dev/userfaultfd", "cgroup_device_acl"},
        {{.kernel = true, .node = true}, "QEMU's user", "udev"},
        {{.kernel = true, .node = true, .may_open = true, .confined = true},
         "AppArmor",
         "\"/dev/userfaultfd rw,\" to /etc/apparmor.d/local/abstractions/libvirt-qemu"},
        {{.kernel = true, .node = true, .may_open = true}, "does not give it", "operations.md"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *remedy = NULL;
        g_autofree char *why = vms_check_cow_userfaultfd(&cases[i].found, &remedy);
        g_assert_nonnull(strstr(why, cases[i].why));
        g_assert_nonnull(strstr(remedy, cases[i].remedy));
    }
}

static void test_confined(void)
{
    g_assert_true(vms_check_cow_is_confined("libvirt-8a4fc13e-dbeb-4c97-ae2c-c91be22377d1 "
                                            "(enforce)\n"));
    g_assert_false(vms_check_cow_is_confined("libvirt-8a4fc13e-dbeb-4c97-ae2c-c91be22377d1 "
                                             "(complain)\n"));
    g_assert_false(vms_check_cow_is_confined("unconfined\n"));
    g_assert_false(vms_check_cow_is_confined(NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/check/blocked", test_blocked);
    g_test_add_func("/check/not-blocked", test_not_blocked);
    g_test_add_func("/check/emulated", test_emulated);
    g_test_add_func("/check/userfaultfd", test_userfaultfd);
    g_test_add_func("/check/confined", test_confined);
    return g_test_run();
}
