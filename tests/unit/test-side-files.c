/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UEFI variables and TPM state: where they are, what is copied, and what a copied definition says
 * of them. */
#include "base/error.h"
#include "job/catalog.h"
#include "job/side-files.h"
#include "virt/define.h"
#include "virt/facts-xml.h"
#include "virt/tpm.h"

#include <glib/gstdio.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "8a4fc13e-dbeb-4c97-ae2c-c91be22377d1"
#define STATE_DIR "/var/lib/libvirt/swtpm/" UUID

static char *scratch;

static char *domain_xml(const char *os, const char *devices)
{
    return g_strdup_printf("<domain><name>web01</name><uuid>" UUID "</uuid><os>%s</os><devices>%s"
                           "</devices></domain>",
                           os, devices);
}

static VmsFacts *facts_of(const char *os, const char *devices)
{
    g_autoptr(GError) error = NULL;
    VmsFacts *facts = vms_facts_new();
    facts->xml = domain_xml(os, devices);
    vms_facts_parse(facts, &error);
    g_assert_no_error(error);
    return facts;
}

static void test_nvram(void)
{
    static const struct {
        const char *xml, *path;
        bool remote;
    } cases[] = {
        {"", NULL, false},
        {"<nvram/>", NULL, false},
        {"<nvram template='/t.fd'/>", NULL, false},
        {"<nvram template='/t.fd' format='raw'>\n /v/a&amp;b.fd\n</nvram>", "/v/a&b.fd", false},
        {"<nvram type='file' format='qcow2'><source file='/v/w.qcow2'/></nvram>", "/v/w.qcow2",
         false},
        {"<nvram type='block'>\n<source dev='/dev/vg/vars'/>\n</nvram>", "/dev/vg/vars", false},
        {"<nvram type='network'><source protocol='nbd' name='n'><host name='h'/></source></nvram>",
         NULL, true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].xml);
        g_autoptr(VmsFacts) facts = facts_of(cases[i].xml, "");
        g_assert_cmpstr(facts->nvram, ==, cases[i].path);
        g_assert_cmpint(facts->nvram_remote, ==, cases[i].remote);
    }
}

static void test_tpm(void)
{
    static const struct {
        const char *xml, *path;
        bool is_file;
    } cases[] = {
        {"", NULL, false},
        {"<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", NULL,
         false},
        {"<tpm><backend type='external'><source type='unix' path='/s'/></backend></tpm>", NULL,
         false},
        {"<tpm><backend type='emulator' version='2.0'/></tpm>", STATE_DIR "/tpm2", false},
        {"<tpm><backend type='emulator' version='1.2'/></tpm>", STATE_DIR "/tpm1.2", false},
        {"<tpm><backend type='emulator'/></tpm>", STATE_DIR "/tpm2", false},
        {"<tpm><backend type='emulator'><source type='dir' path='/srv/tpm'/></backend></tpm>",
         "/srv/tpm", false},
        {"<tpm><backend type='emulator'><source type='file' path='/srv/t.state'/></backend></tpm>",
         "/srv/t.state", true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].xml);
        g_autoptr(VmsFacts) facts = facts_of("", cases[i].xml);
        g_assert_cmpstr(facts->tpm_state, ==, cases[i].path);
        g_assert_cmpint(facts->tpm_state_is_file, ==, cases[i].is_file);
    }
}

static void test_tpm_owner(void)
{
    const struct passwd *tss = getpwnam("tss");
    uid_t default_user = tss ? tss->pw_uid : 0, user = 99;
    gid_t group = 99;
    vms_tpm_owner(NULL, &user, &group);
    g_assert_cmpuint(user, ==, default_user);
    vms_tpm_owner("# swtpm_user = \"root\"\nuser = \"root\"\n", &user, &group);
    g_assert_cmpuint(user, ==, default_user);
    vms_tpm_owner("swtpm_user = \"daemon\"\n  swtpm_group=\"daemon\" # ours\n", &user, &group);
    g_assert_cmpuint(user, ==, getpwnam("daemon")->pw_uid);
    g_assert_cmpuint(group, ==, getpwnam("daemon")->pw_gid);
    vms_tpm_owner("swtpm_user = \"+1234\"\nswtpm_group = \"77\"\n", &user, &group);
    g_assert_cmpuint(user, ==, 1234);
    g_assert_cmpuint(group, ==, 77);
}

static char *rewritten(const char *os, const char *devices, bool copy, const char *nvram)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = domain_xml(os, devices);
    char *out = vms_define_rewrite(xml, copy ? "web02" : NULL, copy, true, NULL, 0, nvram, &error);
    g_assert_no_error(error);
    return out;
}

/* A copy never names what is the original's; the same domain keeps it. */
static void test_copied_definition(void)
{
    const char *source = "<nvram type='file'><source file='/v/web01.fd'/></nvram>";
    const char *tpm = "<tpm><backend type='emulator'><source type='dir' path='/srv/tpm'/></backend>"
                      "</tpm>";
    g_autofree char *fresh = rewritten(source, tpm, true, NULL);
    g_assert_null(strstr(fresh, "/v/web01.fd"));
    g_assert_nonnull(strstr(fresh, "\"/srv/tpm.web02\""));
    g_autofree char *stored = rewritten(source, tpm, true, "/new/a&b.fd");
    g_assert_nonnull(strstr(stored, "<nvram>/new/a&amp;b.fd</nvram>"));
    g_autofree char *same = rewritten(source, tpm, false, NULL);
    g_assert_nonnull(strstr(same, "<source file=\"/v/web01.fd\"/>"));
    g_assert_nonnull(strstr(same, "\"/srv/tpm\""));
}

/* What chose the firmware stays only where libvirt shall choose again. */
static void test_chosen_firmware(void)
{
    const char *chosen = "<firmware><feature enabled='yes' name='secure-boot'/></firmware>"
                         "<loader readonly='yes' secure='yes' type='pflash'>/c.fd</loader>";
    g_autofree char *live = rewritten(chosen, "", true, NULL);
    g_assert_null(strstr(live, "<firmware>"));
    g_assert_nonnull(strstr(live, "/c.fd"));
    g_autofree char *xml = g_strdup_printf("<domain><name>a</name><uuid>" UUID "</uuid>"
                                           "<os firmware='efi'>%s</os></domain>",
                                           chosen);
    g_autofree char *kept = vms_define_rewrite(xml, "b", true, true, NULL, 0, NULL, NULL);
    g_assert_nonnull(strstr(kept, "name=\"secure-boot\""));
}

/* --- copies --- */

static char *put(const char *folder, const char *name, const char *text)
{
    g_autofree char *dir = g_build_filename(scratch, folder, NULL);
    char *path = g_build_filename(dir, name, NULL);
    g_mkdir_with_parents(dir, 0700);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static void expect_file(const char *path, const char *text)
{
    g_autofree char *found = NULL;
    struct stat st;
    g_assert_true(g_file_get_contents(path, &found, NULL, NULL));
    g_assert_cmpstr(found, ==, text);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
}

static bool has_note(const VmsRecord *record, const char *code)
{
    for (guint i = 0; i < record->notes->len; i++)
        if (g_str_equal(((VmsNote *)record->notes->pdata[i])->code, code))
            return true;
    return false;
}

static void test_copies(void)
{
    g_autoptr(GError) error = NULL;
    VmsConfig config = {.state_dir = g_build_filename(scratch, "state", NULL)};
    g_autoptr(VmsFacts) facts = facts_of("", "");
    g_autoptr(VmsRecord) record = vms_record_new();
    record->id = g_strdup("0123456789abcdef");
    facts->active = true;
    facts->nvram = put("from", "vars.fd", "variables 1");
    g_autofree char *permanent = put("from/tpm2", "tpm2-00.permall", "keys 1");
    g_autofree char *lock = put("from/tpm2", ".lock", "");
    facts->tpm_state = g_path_get_dirname(permanent);
    g_autoptr(VmsSideFiles) side = vms_side_files_prepare(&config, facts, record, &error);
    g_assert_no_error(error);
    g_assert_true(vms_side_files_any(side));
    /* Named before they exist: whoever is killed now leaves nothing unknown. */
    g_assert_nonnull(record->nvram);
    g_assert_nonnull(record->tpm);
    g_assert_true(vms_side_files_take(side, &error));
    /* What comes after is not of the instant. */
    g_assert_true(g_file_set_contents(permanent, "keys 2", -1, NULL));
    g_assert_true(vms_side_files_store(side, &error));
    g_autofree char *copy = g_build_filename(record->tpm, "tpm2-00.permall", NULL);
    g_autofree char *copied_lock = g_build_filename(record->tpm, ".lock", NULL);
    expect_file(record->nvram, "variables 1");
    expect_file(copy, "keys 1");
    g_assert_false(g_file_test(copied_lock, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(record->notes->len, ==, 0);
    /* Once more, as around libvirt's own snapshot: what changed is said. */
    g_assert_true(vms_side_files_take(side, &error));
    g_assert_true(vms_side_files_store(side, &error));
    expect_file(copy, "keys 2");
    g_assert_true(has_note(record, "tpm-changed"));
    g_assert_false(has_note(record, "nvram-changed"));
    g_assert_true(vms_side_files_remove(record, &error));
    g_assert_false(g_file_test(record->nvram, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(record->tpm, G_FILE_TEST_EXISTS));
    g_assert_true(vms_side_files_remove(record, &error)); /* again does no harm */
    g_free(config.state_dir);
}

/* A domain that never ran has none yet; one that runs has. */
static void test_missing(void)
{
    g_autoptr(GError) error = NULL;
    VmsConfig config = {.state_dir = g_build_filename(scratch, "state", NULL)};
    g_autoptr(VmsFacts) facts = facts_of("", "");
    g_autoptr(VmsRecord) record = vms_record_new();
    facts->nvram = g_build_filename(scratch, "nowhere.fd", NULL);
    facts->tpm_state = g_build_filename(scratch, "nowhere", NULL);
    g_autoptr(VmsSideFiles) none = vms_side_files_prepare(&config, facts, record, &error);
    g_assert_no_error(error);
    g_assert_false(vms_side_files_any(none));
    g_assert_true(vms_side_files_take(none, &error) && vms_side_files_store(none, &error));
    g_assert_null(record->nvram);
    g_assert_null(record->tpm);
    facts->active = true;
    g_assert_null(vms_side_files_prepare(&config, facts, record, &error));
    g_assert_nonnull(strstr(error->message, "nowhere.fd"));
    g_free(config.state_dir);
}

static void test_catalog(void)
{
    g_autoptr(GError) error = NULL;
    VmsConfig config = {.state_dir = g_build_filename(scratch, "catalog", NULL)};
    g_autoptr(VmsCatalog) catalog = vms_catalog_open(&config, &error);
    g_autoptr(VmsRecord) record = vms_record_new();
    g_assert_no_error(error);
    record->id = g_strdup("0123456789abcdef");
    record->domain = g_strdup("web01");
    record->uuid = g_strdup(UUID);
    record->tpm = g_strdup("/state/tpm/0123456789abcdef");
    g_assert_true(vms_catalog_save(catalog, record, &error));
    g_autoptr(VmsRecord) read = vms_catalog_find(catalog, "0123", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(read->tpm, ==, record->tpm);
    g_assert_null(read->nvram);
    g_free(config.state_dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    scratch = g_dir_make_tmp("vmsnap-side-XXXXXX", NULL);
    g_test_add_func("/side-files/nvram", test_nvram);
    g_test_add_func("/side-files/tpm", test_tpm);
    g_test_add_func("/side-files/tpm-owner", test_tpm_owner);
    g_test_add_func("/side-files/copied-definition", test_copied_definition);
    g_test_add_func("/side-files/chosen-firmware", test_chosen_firmware);
    g_test_add_func("/side-files/copies", test_copies);
    g_test_add_func("/side-files/missing", test_missing);
    g_test_add_func("/side-files/catalog", test_catalog);
    int status = g_test_run();
    const char *remove[] = {"rm", "-rf", scratch, NULL};
    g_spawn_sync(NULL, (char **)remove, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_free(scratch);
    return status;
}
