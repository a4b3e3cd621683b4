/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what an operator writes to a place, and from names to the configured repository. */
#include "base/error.h"
#include "base/secret.h"
#include "job/config.h"
#include "job/location-url.h"
#include "job/location.h"
#include "job/secret-file.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

static char *scratch;

static void check_url(const char *text, const char *endpoint, const char *bucket,
                      const char *prefix, const char *whole)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(text, &error);
    g_assert_no_error(error);
    g_assert_null(url->path);
    g_assert_cmpstr(url->endpoint, ==, endpoint);
    g_assert_cmpstr(url->bucket, ==, bucket);
    g_assert_cmpstr(url->prefix, ==, prefix);
    g_autofree char *written = vms_location_url_text(url, true);
    g_assert_cmpstr(written, ==, whole);
    /* What is printed can be given back. */
    g_autoptr(VmsLocationUrl) again = vms_location_url_parse(written, &error);
    g_assert_no_error(error);
    g_autofree char *same = vms_location_url_text(again, true);
    g_assert_cmpstr(same, ==, whole);
}

static void test_s3(void)
{
    check_url("s3://b", NULL, "b", "", "s3://b");
    check_url("s3://b/", NULL, "b", "", "s3://b");
    check_url("s3://b/p/q//", NULL, "b", "p/q", "s3://b/p/q");
    check_url("s3:https://h/b/p", "https://h", "b", "p", "s3:https://h/b/p");
    check_url("s3:http://h:9000/b", "http://h:9000", "b", "", "s3:http://h:9000/b");
    check_url("s3://b/p?endpoint=https://h/&region=r", "https://h/", "b", "p",
              "s3:https://h/b/p?region=r");
    check_url("s3://b/p?endpoint=h:1", "h:1", "b", "p", "s3:https://h:1/b/p");
    check_url("s3://b/p?endpoint=HTTPS://h", "HTTPS://h", "b", "p", "s3:HTTPS://h/b/p");
    check_url("s3:Http://h/b/p", "Http://h", "b", "p", "s3:Http://h/b/p");
    check_url("s3:https://h/b?ca-file=/a%20b%26&path-style=yes&profile=x", "https://h", "b", "",
              "s3:https://h/b?path-style=yes&ca-file=/a%20b%26&profile=x");
}

static void check_path(const char *text, const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsLocationUrl) url = vms_location_url_parse(text, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(url->path, ==, path);
}

static void test_paths(void)
{
    g_autofree char *here = g_get_current_dir();
    g_autofree char *below = g_build_filename(here, "x", NULL);
    check_path("/srv/backup/", "/srv/backup");
    check_path("/srv/./a/../backup", "/srv/backup");
    check_path("file:/srv/backup", "/srv/backup");
    check_path("file:///srv/backup", "/srv/backup");
    check_path("./x", below);
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "s3:",
        "s3://",
        "s3:///p",
        "s3:bucket",
        "s3:https://",
        "s3:https:///",
        "s3:https://h",
        "s3:https://h/",
        "s3://k:s@b",
        "s3://b?x=1",
        "s3://b?region",
        "s3://b?region=",
        "s3://b?region=a&region=b",
        "s3://b?path-style=on",
        "s3://b?ca-file=x",
        "ftp://h/p",
        "http://h/b",
        "a/b",
        "file:x",
        "file:./x",
        "\xff/",
        "s3:https://h/b?endpoint=https://i",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmsLocationUrl) url = vms_location_url_parse(bad[i], &error);
        if (url)
            g_error("\"%s\" was taken", bad[i]);
        g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    }
}

static void test_names(void)
{
    g_assert_false(vms_location_url_looks("s3"));
    g_assert_false(vms_location_url_looks("a.b-c"));
    g_assert_true(vms_location_url_looks("./s3"));
    g_assert_true(vms_location_url_looks("s3:x"));
}

static char *write_file(const char *name, const char *text, mode_t mode)
{
    char *path = g_build_filename(scratch, name, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(chmod(path, mode), ==, 0);
    return path;
}

static void test_secret_file(void)
{
    static const mode_t open_modes[] = {0604, 0602, 0601, 0620, 0666};
    g_autoptr(GError) error = NULL;
    g_autofree char *path = write_file("secret", " \tcorrect horse \r\n\n", 0640);
    g_autoptr(VmsSecret) secret = vms_secret_file_read(path, "password-file", &error);
    g_assert_no_error(error);
    g_assert_cmpmem(secret->data, secret->len, "correct horse", 13);
    for (size_t i = 0; i < G_N_ELEMENTS(open_modes); i++) {
        g_assert_cmpint(chmod(path, open_modes[i]), ==, 0);
        g_assert_null(vms_secret_file_read(path, "password-file", &error));
        g_assert_true(vms_error_is(error, VMS_ERROR_AUTH));
        g_assert_nonnull(strstr(error->message, "chmod"));
        g_clear_error(&error);
    }
    g_autofree char *empty = write_file("empty", "\n", 0600);
    g_assert_null(vms_secret_file_read(empty, "password-file", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_AUTH));
    g_clear_error(&error);
    g_autofree char *none = g_build_filename(scratch, "none", NULL);
    g_assert_null(vms_secret_file_read(none, "password-file", &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_NOT_FOUND));
    g_assert_true(g_str_has_prefix(error->message, "password-file: "));
    g_unlink(path);
    g_unlink(empty);
}

static VmsConfig *two_repositories(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text =
        g_strdup_printf("[repository dir]\nurl = %s/dir\n[repository far]\nurl = s3://b/p\n"
                        "endpoint = https://h:1\nca-file = /dev/null\n",
                        scratch);
    g_autofree char *path = write_file("conf", text, 0600);
    VmsConfig *config = vms_config_load(path, &error);
    g_assert_no_error(error);
    g_unlink(path);
    return config;
}

static void test_resolve(void)
{
    g_autoptr(VmsConfig) config = two_repositories();
    g_autofree char *dir = g_build_filename(scratch, "dir", NULL);
    VmsContext context = {.config = config};
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_autoptr(VmsLocation) by_name = vms_location_open_store(&context, "dir", false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(by_name->store->location, ==, dir);
    g_assert_null(vms_location_open_store(&context, NULL, false, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_USAGE));
    g_clear_error(&error);
    g_assert_null(vms_location_open_store(&context, "near", false, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_NOT_FOUND));
    g_assert_nonnull(strstr(error->message, "dir, far"));
    g_clear_error(&error);
    g_rmdir(dir);
    g_assert_null(vms_location_open_store(&context, "dir", false, &error));
    g_assert_true(vms_error_is(error, VMS_ERROR_NOT_FOUND));
    g_assert_nonnull(strstr(error->message, "vmsnap init dir"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    scratch = g_dir_make_tmp("vmsnap-XXXXXX", NULL);
    g_assert_nonnull(scratch);
    g_test_add_func("/location/s3", test_s3);
    g_test_add_func("/location/paths", test_paths);
    g_test_add_func("/location/refused", test_refused);
    g_test_add_func("/location/names", test_names);
    g_test_add_func("/location/secret-file", test_secret_file);
    g_test_add_func("/location/resolve", test_resolve);
    int status = g_test_run();
    g_rmdir(scratch);
    g_free(scratch);
    return status;
}
