/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of the S3 store that need no server: what it reads and what it writes. */
#include "base/error.h"
#include "store/http-error.h"
#include "store/s3-error.h"
#include "store/s3-profile.h"
#include "store/s3-range.h"
#include "store/s3-url.h"
#include "store/s3-xml.h"

#include <string.h>

static void assert_code(const GError *error, VmsErrorCode code)
{
    g_assert_error(error, VMS_ERROR, (int)code);
}

#define PAGE(text) "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://x/\">" text
#define END "<IsTruncated>true</IsTruncated></ListBucketResult>"
#define OBJECT(key, size)                                                                          \
    "<Contents><Key>" key "</Key><Owner><Key>not this</Key></Owner><Size>" size "</Size></"        \
    "Contents>"

static void test_page(void)
{
    const char text[] = PAGE("<Name>b</Name>\n  ") OBJECT("a/b", "12")
        OBJECT("x &amp; &#228; <![CDATA[<]]>",
               "9223372036854775807") "<Unknown><Key>z</Key></Unknown>" END;
    g_auto(VmsS3Page) page = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(vms_s3_xml_page(text, strlen(text), &page, &error));
    g_assert_true(page.truncated);
    g_assert_cmpuint(page.objects->len, ==, 2);
    VmsS3Object *object = &g_array_index(page.objects, VmsS3Object, 0);
    g_assert_cmpstr(object[0].key, ==, "a/b");
    g_assert_cmpuint(object[0].size, ==, 12);
    g_assert_cmpstr(object[1].key, ==, "x & ä <");
    g_assert_cmpuint(object[1].size, ==, INT64_MAX);
}

static void test_page_encoded(void)
{
    const char text[] = PAGE("")
        OBJECT("a%2Fb+c%2B%C3%A4", "1") "<EncodingType>url</EncodingType>"
                                        "<IsTruncated>false</IsTruncated></ListBucketResult>";
    g_auto(VmsS3Page) page = {0};
    g_assert_true(vms_s3_xml_page(text, strlen(text), &page, NULL));
    g_assert_false(page.truncated);
    g_assert_cmpstr(g_array_index(page.objects, VmsS3Object, 0).key, ==, "a/b c+ä");
}

static void test_page_hostile(void)
{
    static const char *const bad[] = {
        "not xml",
        "<html><body>login</body></html>",
        PAGE(END) "<more/>",
        PAGE(OBJECT("a", "-1") END),
        PAGE(OBJECT("a", "x") END),
        PAGE(OBJECT("a", "") END),
        PAGE(OBJECT("a", "99999999999999999999") END),
        PAGE("<Contents><Key>a</Key></Contents>" END),
        PAGE("<Contents><Size>1</Size></Contents>" END),
        PAGE("<Contents></Key>" END),
        PAGE("&unknown;" END),
        PAGE(OBJECT("&#0;", "1") END),
        PAGE(OBJECT("\xff\xfe", "1") END),
        "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>" PAGE(OBJECT("&b;", "1") END),
        PAGE("<EncodingType>url</EncodingType>" OBJECT("%zz", "1") END),
        PAGE("<EncodingType>url</EncodingType>" OBJECT("a%00b", "1") END),
        "<a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a>",
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("document %u: %s", i, bad[i]);
        g_auto(VmsS3Page) page = {0};
        g_autoptr(GError) error = NULL;
        g_assert_false(vms_s3_xml_page(bad[i], strlen(bad[i]), &page, &error));
        assert_code(error, VMS_ERROR_INVALID);
    }
    static const char *const cut[] = {"", " ", PAGE(""), PAGE(OBJECT("a", "1")), "<Li"};
    for (unsigned i = 0; i < G_N_ELEMENTS(cut); i++) {
        g_auto(VmsS3Page) page = {0};
        g_autoptr(GError) error = NULL;
        g_assert_false(vms_s3_xml_page(cut[i], strlen(cut[i]), &page, &error));
        assert_code(error, VMS_ERROR_TRANSIENT);
    }
    GString *deep = g_string_new(NULL);
    for (unsigned i = 0; i < 1000000; i++)
        g_string_append(deep, "<a>");
    g_autoptr(GError) error = NULL;
    g_auto(VmsS3Page) page = {0};
    g_assert_false(vms_s3_xml_page(deep->str, deep->len, &page, &error));
    assert_code(error, VMS_ERROR_INVALID);
    g_string_free(deep, TRUE);
}

static void test_fault(void)
{
    const char text[] = "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code>"
                        "<Message>line\nbreak \x1b[31m</Message><Region>eu-1</Region>";
    g_auto(VmsS3Fault) fault = {0};
    vms_s3_xml_fault(text, strlen(text), &fault); /* cut short, and still useful */
    g_assert_cmpstr(fault.code, ==, "NoSuchBucket");
    g_assert_cmpstr(fault.message, ==, "line break  [31m");
    g_assert_cmpstr(fault.region, ==, "eu-1");
    g_auto(VmsS3Fault) none = {0};
    vms_s3_xml_fault(NULL, 0, &none);
    g_assert_cmpstr(none.code, ==, "");
}

static char *location(const char *endpoint, const char *prefix, VmsS3Style style, GError **error)
{
    VmsS3Options options = {
        .endpoint = endpoint, .bucket = "bucket", .prefix = prefix, .style = style};
    VmsS3Url url = {0};
    if (!vms_s3_url_init(&url, &options, "eu-west-1", error))
        return NULL;
    char *text = vms_s3_url_object(&url, "data/3f/x");
    vms_s3_url_clear(&url);
    return text;
}

static void test_url(void)
{
    static const struct {
        const char *endpoint, *prefix;
        VmsS3Style style;
        const char *want; /* NULL: refused */
    } cases[] = {
        {NULL, NULL, VMS_S3_STYLE_AUTO, "https://bucket.s3.eu-west-1.amazonaws.com/data/3f/x"},
        {NULL, "", VMS_S3_STYLE_PATH, "https://s3.eu-west-1.amazonaws.com/bucket/data/3f/x"},
        {"s3.example.org", "/a/B~1/", VMS_S3_STYLE_AUTO,
         "https://s3.example.org/bucket/a/B~1/data/3f/x"},
        {"http://127.0.0.1:9000/", "a", VMS_S3_STYLE_AUTO,
         "http://127.0.0.1:9000/bucket/a/data/3f/x"},
        {"https://h:1", NULL, VMS_S3_STYLE_VIRTUAL, "https://bucket.h:1/data/3f/x"},
        {"http://[::1]:9", NULL, VMS_S3_STYLE_AUTO, "http://[::1]:9/bucket/data/3f/x"},
        {"http://127.0.0.1", NULL, VMS_S3_STYLE_VIRTUAL, NULL},
        {"http://[::1]", NULL, VMS_S3_STYLE_VIRTUAL, NULL},
        {"ftp://h", NULL, VMS_S3_STYLE_AUTO, NULL},
        {"https://h/path", NULL, VMS_S3_STYLE_AUTO, NULL},
        {"https://h?a=b", NULL, VMS_S3_STYLE_AUTO, NULL},
        {"https://key:secret@h", NULL, VMS_S3_STYLE_AUTO, NULL},
        {"https://", NULL, VMS_S3_STYLE_AUTO, NULL},
        {"https://h", "a//b", VMS_S3_STYLE_AUTO, NULL},
        {"https://h", "a/../b", VMS_S3_STYLE_AUTO, NULL},
        {"https://h", "a b", VMS_S3_STYLE_AUTO, NULL},
        {"https://h", "a+b", VMS_S3_STYLE_AUTO, NULL},
        {"https://h", "a?b", VMS_S3_STYLE_AUTO, NULL},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *got = location(cases[i].endpoint, cases[i].prefix, cases[i].style, &error);
        g_assert_cmpstr(got, ==, cases[i].want);
        if (!cases[i].want)
            assert_code(error, VMS_ERROR_USAGE);
    }
}

static void test_url_list(void)
{
    VmsS3Options options = {.endpoint = "http://h", .bucket = "bucket", .prefix = "p"};
    VmsS3Url url = {0};
    g_assert_true(vms_s3_url_init(&url, &options, "r", NULL));
    g_autofree char *text = vms_s3_url_list(&url, "data/", "p/data/a b+ä&=", 7);
    g_assert_cmpstr(text, ==,
                    "http://h/bucket/?encoding-type=url&list-type=2&max-keys=7&prefix=p%2Fdata%2F"
                    "&start-after=p%2Fdata%2Fa%20b%2B%C3%A4%26%3D");
    vms_s3_url_clear(&url);
    static const char *const bad[] = {NULL, "", "ab", "a/b", "../x", "a b", ".ab", "a%2f"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        options.bucket = bad[i];
        g_assert_false(vms_s3_url_init(&url, &options, "r", &error));
        assert_code(error, VMS_ERROR_USAGE);
    }
    g_assert_false(vms_s3_url_valid_region("a:b"));
    g_assert_false(vms_s3_url_valid_region(""));
    g_assert_true(vms_s3_url_valid_region("us-gov-west-1"));
}

static void test_range(void)
{
    static const char *const bad[] = {NULL,
                                      "",
                                      "bytes",
                                      "bytes */10",
                                      "bytes 0-9/*",
                                      "bytes 5-4/10",
                                      "bytes 0-10/10",
                                      "0-9/10",
                                      "bytes 0-9/10 ",
                                      "bytes -1-9/10",
                                      "bytes 0-9/99999999999999999999"};
    uint64_t first = 1, size = 0;
    g_assert_true(vms_s3_range_parse("Bytes 3-9/10", &first, &size));
    g_assert_cmpuint(first, ==, 3);
    g_assert_cmpuint(size, ==, 10);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(vms_s3_range_parse(bad[i], &first, &size));
}

static void test_profile(void)
{
    const char text[] = "# comment\r\n"
                        "[default]\n"
                        "aws_access_key_id = DEFAULT\n"
                        "\n"
                        "[ web-01 ]  # more\r\n"
                        "AWS_ACCESS_KEY_ID=AK=1\r\n"
                        "aws_secret_access_key =  se/cr+et== \r\n"
                        "s3 =\n"
                        "    aws_session_token = nested\n"
                        "    max_concurrent_requests = 20\n"
                        "region=eu-west-1\n"
                        "[other]\n"
                        "aws_session_token = no";
    g_auto(VmsS3Profile) profile = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(vms_s3_profile_parse(text, strlen(text), "web-01", &profile, &error));
    g_assert_true(profile.found);
    g_assert_cmpstr(profile.access_key_id, ==, "AK=1");
    g_assert_cmpstr((char *)profile.secret_access_key->data, ==, "se/cr+et==");
    g_assert_null(profile.session_token);
    g_assert_cmpstr(profile.region, ==, "eu-west-1");
    g_auto(VmsS3Profile) none = {0};
    g_assert_true(vms_s3_profile_parse(text, strlen(text), "web", &none, &error));
    g_assert_false(none.found);
    g_auto(VmsS3Profile) config = {0};
    const char spaced[] = "[profile   web]\nregion = x\n";
    g_assert_true(vms_s3_profile_parse(spaced, strlen(spaced), "profile web", &config, &error));
    g_assert_cmpstr(config.region, ==, "x");
    const char wrong[] = "[default]\nwJalrXUtnFEMI/SECRET\n";
    g_assert_false(vms_s3_profile_parse(wrong, strlen(wrong), "default", &none, &error));
    assert_code(error, VMS_ERROR_USAGE);
    g_assert_nonnull(strstr(error->message, "line 2"));
    g_assert_null(strstr(error->message, "SECRET"));
}

static void test_error(void)
{
    static const struct {
        long status;
        const char *name;
        VmsErrorCode code;
        const char *word;
    } cases[] = {
        {403, "AccessDenied", VMS_ERROR_AUTH, "AccessDenied"},
        {403, "SignatureDoesNotMatch", VMS_ERROR_AUTH, "KEYID"},
        {403, "QuotaExceeded", VMS_ERROR_NO_SPACE, "quota"},
        {403, "RequestTimeTooSkewed", VMS_ERROR_AUTH, "set the clock"},
        {400, "ExpiredToken", VMS_ERROR_AUTH, "expired"},
        {400, "RequestTimeout", VMS_ERROR_TRANSIENT, "RequestTimeout"},
        {400, "XAmzContentSHA256Mismatch", VMS_ERROR_TRANSIENT, "on the way"},
        {404, "NoSuchBucket", VMS_ERROR_NOT_FOUND, "\"bucket\""},
        {503, "SlowDown", VMS_ERROR_TRANSIENT, "HTTP 503 SlowDown"},
        {400, "AuthorizationHeaderMalformed", VMS_ERROR_USAGE, "eu-1"},
        {301, "PermanentRedirect", VMS_ERROR_USAGE, "eu-1"},
        {307, "TemporaryRedirect", VMS_ERROR_USAGE, "eu-1"},
        {409, "ConditionalRequestConflict", VMS_ERROR_TRANSIENT, ""},
        {500, "Whatever", VMS_ERROR_TRANSIENT, "HTTP 500 Whatever"},
        {429, "", VMS_ERROR_TRANSIENT, "HTTP 429"},
        {507, "", VMS_ERROR_NO_SPACE, "HTTP 507"},
        {501, "NotImplemented", VMS_ERROR_UNSUPPORTED, ""},
        {412, "", VMS_ERROR_EXISTS, ""},
        {418, "", VMS_ERROR_FAILED, "HTTP 418"},
    };
    VmsS3ErrorContext context = {"bucket", "us-east-1", "KEYID"};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text =
            g_strdup_printf("<Error><Code>%s</Code><Region>eu-1</Region></Error>", cases[i].name);
        g_auto(VmsHttpReply) reply = {.status = cases[i].status, .body = g_byte_array_new()};
        g_byte_array_append(reply.body, (const guint8 *)text, (guint)strlen(text));
        g_autoptr(GError) error = NULL;
        g_assert_false(vms_s3_error_set(&error, &reply, &context));
        g_test_message("%s", error->message);
        assert_code(error, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].word));
    }
}

static void test_transfer_error(void)
{
    static const struct {
        CURLcode curl;
        const char *detail;
        VmsErrorCode code;
    } cases[] = {
        {CURLE_COULDNT_CONNECT, "", VMS_ERROR_TRANSIENT},
        {CURLE_OPERATION_TIMEDOUT, "", VMS_ERROR_TRANSIENT},
        {CURLE_PARTIAL_FILE, "", VMS_ERROR_TRANSIENT},
        {CURLE_GOT_NOTHING, "", VMS_ERROR_TRANSIENT},
        {CURLE_PEER_FAILED_VERIFICATION, "unable to get local issuer", VMS_ERROR_AUTH},
        {CURLE_SSL_CACERT_BADFILE, "", VMS_ERROR_USAGE},
        {CURLE_SSL_CONNECT_ERROR, "wrong version number", VMS_ERROR_FAILED},
        {CURLE_SSL_CONNECT_ERROR, "alert handshake failure", VMS_ERROR_FAILED},
        {CURLE_SSL_CONNECT_ERROR, "OpenSSL SSL_connect: SSL_ERROR_SYSCALL", VMS_ERROR_TRANSIENT},
        {CURLE_UNSUPPORTED_PROTOCOL, "Received HTTP/0.9 when not allowed", VMS_ERROR_FAILED},
        {CURLE_OUT_OF_MEMORY, "", VMS_ERROR_FAILED},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        VmsHttpErrorContext context = {"https://h:9/bucket/key?x=y", cases[i].detail, NULL, false};
        g_assert_false(vms_http_error_set(&error, cases[i].curl, &context));
        g_test_message("%s", error->message);
        assert_code(error, cases[i].code);
        g_assert_true(strstr(error->message, "https://h:9") || cases[i].code == VMS_ERROR_USAGE);
        g_assert_null(strstr(error->message, "/bucket/key"));
        /* of a server that has spoken HTTP before: a connection that breaks, no wrong address */
        bool garbage =
            cases[i].curl == CURLE_SSL_CONNECT_ERROR || cases[i].curl == CURLE_UNSUPPORTED_PROTOCOL;
        g_autoptr(GError) later = NULL;
        context.answered = true;
        g_assert_false(vms_http_error_set(&later, cases[i].curl, &context));
        assert_code(later, garbage ? VMS_ERROR_TRANSIENT : cases[i].code);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/s3/page", test_page);
    g_test_add_func("/s3/page-encoded", test_page_encoded);
    g_test_add_func("/s3/page-hostile", test_page_hostile);
    g_test_add_func("/s3/fault", test_fault);
    g_test_add_func("/s3/url", test_url);
    g_test_add_func("/s3/url-list", test_url_list);
    g_test_add_func("/s3/range", test_range);
    g_test_add_func("/s3/profile", test_profile);
    g_test_add_func("/s3/error", test_error);
    g_test_add_func("/s3/transfer-error", test_transfer_error);
    return g_test_run();
}
