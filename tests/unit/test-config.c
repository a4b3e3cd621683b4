/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration file: what is right is read, what is wrong is said with its line. */
#include "base/error.h"
#include "job/config.h"

#include <glib/gstdio.h>
#include <unistd.h>

static char *file;

static VmsConfig *load(const char *text, GError **error)
{
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    return vms_config_load(file, error);
}

static void refuse(const char *text, unsigned line, const char *says)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *place = g_strdup_printf("%s:%u: ", file, line);
    g_assert_null(load(text, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    if (!g_str_has_prefix(error->message, place) || !strstr(error->message, says))
        g_error("\"%s\" is not in: %s", says, error->message);
}

static void test_defaults(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsConfig) config = load("", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->file, ==, file);
    g_assert_cmpstr(config->state_dir, ==, "/var/lib/vmsnap");
    g_assert_cmpstr(config->cache_dir, ==, "/var/cache/vmsnap");
    g_assert_cmpstr(config->run_dir, ==, "/run/vmsnap");
    g_assert_cmpint(config->freeze_deadline_s, ==, 10);
    g_assert_cmpint(config->merge_patience_s, ==, 60);
    g_assert_cmpuint(config->repositories->len, ==, 0);
    g_assert_cmpuint(config->transfer.limit_upload, ==, 0);
    g_assert_cmpuint(config->transfer.chunk_size, ==, 1 << 20);
}

static void test_export(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsConfig) config =
        load("[export]\nlimit-upload = 1.5M\nlimit-read=100K\ncompression = max\nthreads = 3\n"
             "chunk-size = 256K\n",
             &error);
    g_assert_no_error(error);
    g_assert_cmpuint(config->transfer.limit_upload, ==, 3 << 19);
    g_assert_cmpuint(config->transfer.limit_read, ==, 100 << 10);
    g_assert_cmpint(config->transfer.compression, ==, VMS_COMPRESSION_MAX);
    g_assert_cmpuint(config->transfer.threads, ==, 3);
    g_assert_cmpuint(config->transfer.chunk_size, ==, 256 << 10);
    refuse("[export]\nlimit-upload = 0\n", 2, "limit-upload");
    refuse("[export]\nlimit-read = fast\n", 2, "bytes per second");
    refuse("[export]\ncompression = 9\n", 2, "auto, off, max");
    refuse("[export]\nthreads = 0\n", 2, "1 to 256");
    refuse("[export]\nchunk-size = 3M\n", 2, "128K");
    refuse("[export]\nchunk-size = 64K\n", 2, "128K");
}

static void test_growth(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsConfig) none = load("", &error);
    g_autoptr(VmsConfig) some = load("[overlays]\ngrowth = 20G\n", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(none->growth, ==, 0);
    g_assert_cmpuint(some->growth, ==, UINT64_C(20) << 30);
    refuse("[overlays]\ngrowth = much\n", 2, "auto, off, or a size");
    refuse("[overlays]\ngrow = 1G\n", 2, "growth");
}

static void test_everything(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsConfig) config =
        load("# comment\n\n[paths]\nstate=/a\ncache = /b \n  run =\t/c\n[create]\r\n"
             "freeze-deadline=600\r\n[repository one]\nurl=/srv/x\npassword-file=/p\n"
             "[repository two.2]\nurl = s3://b/p\nendpoint = https://h\nregion = r\n"
             "path-style = yes\nca-file = /ca\nprofile = pr\naccess-key-id = AK\n"
             "secret-access-key-file = /s\n",
             &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->state_dir, ==, "/a");
    g_assert_cmpstr(config->cache_dir, ==, "/b");
    g_assert_cmpstr(config->run_dir, ==, "/c");
    g_assert_cmpint(config->freeze_deadline_s, ==, 600);
    g_assert_cmpuint(config->repositories->len, ==, 2);
    const VmsConfigRepository *one = config->repositories->pdata[0];
    const VmsConfigRepository *two = config->repositories->pdata[1];
    g_assert_cmpstr(one->name, ==, "one");
    g_assert_cmpstr(one->password_file, ==, "/p");
    g_assert_null(one->endpoint);
    g_assert_cmpstr(two->name, ==, "two.2");
    g_assert_cmpstr(two->url, ==, "s3://b/p");
    g_assert_cmpstr(two->endpoint, ==, "https://h");
    g_assert_cmpstr(two->region, ==, "r");
    g_assert_cmpstr(two->path_style, ==, "yes");
    g_assert_cmpstr(two->ca_file, ==, "/ca");
    g_assert_cmpstr(two->profile, ==, "pr");
    g_assert_cmpstr(two->access_key_id, ==, "AK");
    g_assert_cmpstr(two->secret_access_key_file, ==, "/s");
}

static void test_unknown(void)
{
    refuse("[paths]\nstate = /a\nstat = /b\n", 3,
           "unknown key \"stat\" in [paths]; known: state, cache, run");
    refuse("\n\n[pathes]\n", 3, "unknown section [pathes]");
    refuse("[repository]\n", 1, "unknown section");
    refuse("[repository a b]\n", 1, "\"a b\"");
    refuse("[repository -a]\n", 1, "\"-a\"");
    refuse("[create]\nFreeze-Deadline = 1\n", 2, "Freeze-Deadline");
}

static void test_repeated(void)
{
    refuse("[paths]\nstate=/a\n[create]\n[paths]\nrun=/b\n", 4, "already in line 1");
    refuse("[paths]\nstate=/a\nstate=/b\n", 3, "already in line 2");
}

static void test_malformed(void)
{
    refuse("state = /a\n", 1, "before the first");
    refuse("[paths\n", 1, "[NAME]");
    refuse("[paths] x\n", 1, "[NAME]");
    refuse("[paths]\nstate\n", 2, "key = value");
    refuse("[paths]\n\xff = 1\n", 2, "UTF-8");
    refuse("[paths]\nstate = \\x\n", 2, "state");
}

static void test_values(void)
{
    static const char *const bad[] = {"0", "-1", "601", "1.5", "ten", "", "10s", "4294967297"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("[create]\nfreeze-deadline = %s\n", bad[i]);
        refuse(text, 2, "freeze-deadline");
        g_autofree char *merge = g_strdup_printf("[merge]\npatience = %s\n", bad[i]);
        refuse(merge, 2, "patience");
    }
    refuse("[paths]\nstate = var\n", 2, "not an absolute path");
    refuse("[paths]\nstate =\n", 2, "is empty");
    refuse("[repository a]\nurl = s3://b\npath-style = on\n", 3, "auto, yes, no");
    refuse("[repository a]\nurl = x\n", 2, "a path begins with /");
    refuse("[repository a]\nurl = ../x\n", 2, "absolute");
    refuse("\n[repository a]\nregion = x\n", 2, "no url");
    refuse("[repository a]\nurl = /x\nregion = x\n", 1, "s3 urls");
    refuse("[repository a]\nurl = s3://b\nsecret-access-key-file = /x\n", 1, "access-key-id");
}

static void test_missing(void)
{
    g_autoptr(GError) error = NULL;
    g_unlink(file);
    g_assert_null(vms_config_load(file, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    g_assert_nonnull(strstr(error->message, file));
    g_clear_error(&error);
    g_setenv("VMSNAP_CONFIG", file, TRUE);
    g_assert_null(vms_config_load(NULL, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    g_unsetenv("VMSNAP_CONFIG");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = g_file_open_tmp("vmsnap-XXXXXX.conf", &file, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_test_add_func("/config/defaults", test_defaults);
    g_test_add_func("/config/everything", test_everything);
    g_test_add_func("/config/growth", test_growth);
    g_test_add_func("/config/unknown", test_unknown);
    g_test_add_func("/config/repeated", test_repeated);
    g_test_add_func("/config/malformed", test_malformed);
    g_test_add_func("/config/values", test_values);
    g_test_add_func("/config/export", test_export);
    g_test_add_func("/config/missing", test_missing);
    int status = g_test_run();
    g_unlink(file);
    g_free(file);
    return status;
}
