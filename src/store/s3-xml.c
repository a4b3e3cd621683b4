/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GMarkup knows no entities but the five of XML and numbers, and no external anything, so a
 * document cannot grow beyond what was received; what it does not bound is depth. The path of open
 * elements is kept as one string, and an element is known by its whole path: <Key> within <Owner>
 * is no key. */
#include "store/s3-xml.h"

#include "base/error.h"

#include <string.h>

#define MAX_DEPTH 8

typedef struct {
    GString *path; /* "/ListBucketResult/Contents" */
    GString *text; /* of the innermost element */
    unsigned depth;
    bool begun; /* the one outermost element */
    VmsS3XmlFunc ended;
    void *user;
} Reader;

static void on_start(GMarkupParseContext *context, const char *element, const char **names,
                     const char **values, void *user, GError **error)
{
    Reader *reader = user;
    if (reader->depth == 0 && reader->begun) {
        g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "goes on after its end");
        return;
    }
    reader->begun = true;
    if (++reader->depth > MAX_DEPTH) {
        g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "nested too deeply");
        return;
    }
    g_string_append_printf(reader->path, "/%s", element);
    g_string_truncate(reader->text, 0);
}

static void on_end(GMarkupParseContext *context, const char *element, void *user, GError **error)
{
    Reader *reader = user;
    reader->ended(reader->user, reader->path->str, reader->text->str, error);
    g_string_truncate(reader->path, reader->path->len - strlen(element) - 1);
    g_string_truncate(reader->text, 0);
    reader->depth--;
}

static void on_text(GMarkupParseContext *context, const char *text, gsize len, void *user,
                    GError **error)
{
    g_string_append_len(((Reader *)user)->text, text, (gssize)len);
}

bool vms_s3_xml_read(const char *text, size_t len, VmsS3XmlFunc ended, void *user, GError **error)
{
    static const GMarkupParser parser = {
        .start_element = on_start, .end_element = on_end, .text = on_text};
    Reader reader = {
        .path = g_string_new(NULL), .text = g_string_new(NULL), .ended = ended, .user = user};
    g_autoptr(GMarkupParseContext) context =
        g_markup_parse_context_new(&parser, G_MARKUP_TREAT_CDATA_AS_TEXT, &reader, NULL);
    g_autoptr(GError) wrong = NULL;
    bool so_far = g_markup_parse_context_parse(context, len > 0 ? text : "", (gssize)len, &wrong);
    bool ok = so_far && g_markup_parse_context_end_parse(context, &wrong);
    g_string_free(reader.path, TRUE);
    g_string_free(reader.text, TRUE);
    return ok || vms_fail(error, so_far ? VMS_ERROR_TRANSIENT : VMS_ERROR_INVALID, "%.200s",
                          wrong->message);
}

typedef struct {
    VmsS3Page page;
    char *key;
    uint64_t size;
    bool has_size, has_truncated, encoded;
} PageReader;

static void set_invalid(GError **error, const char *what)
{
    g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "%s", what);
}

static void end_object(PageReader *reader, GError **error)
{
    if (!reader->key || !reader->has_size) {
        set_invalid(error, "an object without key or size");
        return;
    }
    VmsS3Object object = {g_steal_pointer(&reader->key), reader->size};
    g_array_append_val(reader->page.objects, object);
    reader->has_size = false;
}

static void page_ended(void *user, const char *path, const char *text, GError **error)
{
    PageReader *reader = user;
    if (g_str_equal(path, "/ListBucketResult/Contents/Key")) {
        g_free(reader->key);
        reader->key = g_strdup(text);
    } else if (g_str_equal(path, "/ListBucketResult/Contents/Size")) {
        reader->has_size = g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &reader->size, NULL);
    } else if (g_str_equal(path, "/ListBucketResult/Contents")) {
        end_object(reader, error);
    } else if (g_str_equal(path, "/ListBucketResult/IsTruncated")) {
        reader->has_truncated = true;
        reader->page.truncated = g_str_equal(text, "true");
    } else if (g_str_equal(path, "/ListBucketResult/EncodingType")) {
        reader->encoded = g_str_equal(text, "url");
    }
}

/* Percent and plus, as S3 encodes keys for a listing. */
static bool decode_key(char **key)
{
    for (char *at = *key; *at; at++)
        if (*at == '+')
            *at = ' ';
    char *plain = g_uri_unescape_string(*key, NULL);
    if (!plain)
        return false;
    g_free(*key);
    *key = plain;
    return true;
}

static bool finish_page(PageReader *reader, GError **error)
{
    if (!reader->has_truncated)
        return vms_fail(error, VMS_ERROR_INVALID, "it is not a ListBucketResult");
    GArray *objects = reader->page.objects;
    for (unsigned i = 0; reader->encoded && i < objects->len; i++)
        if (!decode_key(&g_array_index(objects, VmsS3Object, i).key))
            return vms_fail(error, VMS_ERROR_INVALID, "a key is wrongly encoded");
    return true;
}

static void clear_object(void *object)
{
    g_free(((VmsS3Object *)object)->key);
}

bool vms_s3_xml_page(const char *text, size_t len, VmsS3Page *ret_page, GError **error)
{
    PageReader page = {.page.objects = g_array_new(FALSE, FALSE, sizeof(VmsS3Object))};
    g_array_set_clear_func(page.page.objects, clear_object);
    bool ok = vms_s3_xml_read(text, len, page_ended, &page, error) && finish_page(&page, error);
    g_free(page.key);
    if (ok)
        *ret_page = page.page;
    else
        vms_s3_xml_page_clear(&page.page);
    return ok;
}

void vms_s3_xml_page_clear(VmsS3Page *page)
{
    if (page->objects)
        g_array_unref(page->objects);
    page->objects = NULL;
}

static void replace(char **field, const char *text, size_t most)
{
    g_free(*field);
    *field = g_utf8_substring(text, 0, MIN(g_utf8_strlen(text, -1), (glong)most));
    for (char *at = *field; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
}

static void fault_ended(void *user, const char *path, const char *text, GError **error)
{
    VmsS3Fault *fault = user;
    if (g_str_equal(path, "/Error/Code"))
        replace(&fault->code, text, 60);
    else if (g_str_equal(path, "/Error/Message"))
        replace(&fault->message, text, 300);
    else if (g_str_equal(path, "/Error/Region"))
        replace(&fault->region, text, 60);
}

void vms_s3_xml_fault(const char *text, size_t len, VmsS3Fault *ret_fault)
{
    VmsS3Fault fault = {g_strdup(""), g_strdup(""), g_strdup("")};
    /* a document cut short may still have begun with the code */
    vms_s3_xml_read(text, len, fault_ended, &fault, NULL);
    *ret_fault = fault;
}

void vms_s3_xml_fault_clear(VmsS3Fault *fault)
{
    g_free(fault->code);
    g_free(fault->message);
    g_free(fault->region);
    memset(fault, 0, sizeof *fault);
}
