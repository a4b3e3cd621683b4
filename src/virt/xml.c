/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/xml.h"

#include "base/error.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <string.h>

#define MAX_XML (16u << 20) /* bytes */

xmlDocPtr vms_xml_parse(const char *text, GError **error)
{
    size_t len = strlen(text);
    if (len > MAX_XML)
        return vms_fail_null(error, VMS_ERROR_INVALID, "XML of %zu bytes is too large", len);
    xmlParserCtxtPtr parser = xmlNewParserCtxt();
    xmlDocPtr doc = xmlCtxtReadMemory(parser, text, (int)len, "domain.xml", NULL,
                                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                          XML_PARSE_NOBLANKS);
    if (!doc || !xmlDocGetRootElement(doc)) {
        const xmlError *why = xmlCtxtGetLastError(parser);
        g_autofree char *reason = g_strdup(why && why->message ? why->message : "no element");
        vms_fail(error, VMS_ERROR_INVALID, "malformed XML, line %d: %s", why ? why->line : 0,
                 g_strchomp(reason));
        g_clear_pointer(&doc, xmlFreeDoc);
    }
    xmlFreeParserCtxt(parser);
    return doc;
}

static xmlXPathObjectPtr evaluate(xmlDocPtr doc, xmlNodePtr context, const char *xpath)
{
    xmlXPathContextPtr evaluation = xmlXPathNewContext(doc);
    evaluation->node = context ? context : (xmlNodePtr)doc;
    xmlXPathObjectPtr result = xmlXPathEvalExpression((const xmlChar *)xpath, evaluation);
    xmlXPathFreeContext(evaluation);
    return result;
}

GPtrArray *vms_xml_nodes(xmlDocPtr doc, xmlNodePtr context, const char *xpath)
{
    GPtrArray *nodes = g_ptr_array_new();
    xmlXPathObjectPtr result = evaluate(doc, context, xpath);
    if (result && result->nodesetval) {
        xmlXPathNodeSetSort(result->nodesetval);
        for (int i = 0; i < result->nodesetval->nodeNr; i++)
            g_ptr_array_add(nodes, result->nodesetval->nodeTab[i]);
    }
    xmlXPathFreeObject(result);
    return nodes;
}

xmlNodePtr vms_xml_node(xmlDocPtr doc, xmlNodePtr context, const char *xpath)
{
    g_autoptr(GPtrArray) nodes = vms_xml_nodes(doc, context, xpath);
    return nodes->len > 0 ? nodes->pdata[0] : NULL;
}

char *vms_xml_string(xmlDocPtr doc, xmlNodePtr context, const char *xpath)
{
    xmlNodePtr node = vms_xml_node(doc, context, xpath);
    if (!node)
        return NULL;
    xmlChar *content = xmlNodeGetContent(node);
    char *text = g_strdup((const char *)content);
    xmlFree(content);
    return text;
}

void vms_xml_remove(xmlDocPtr doc, xmlNodePtr context, const char *xpath)
{
    g_autoptr(GPtrArray) nodes = vms_xml_nodes(doc, context, xpath);
    /* backwards: a node inside of another comes after it, and goes with it */
    for (guint i = nodes->len; i-- > 0;) {
        xmlNodePtr node = nodes->pdata[i];
        if (node->type == XML_ATTRIBUTE_NODE) {
            xmlRemoveProp((xmlAttrPtr)node);
        } else {
            xmlUnlinkNode(node);
            xmlFreeNode(node);
        }
    }
}

void vms_xml_set_child(xmlNodePtr parent, const char *name, const char *text)
{
    xmlNodePtr child = vms_xml_node(parent->doc, parent, name);
    if (!child)
        child = xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);
    /* xmlNodeSetContent takes markup: the text must be escaped first. */
    xmlChar *escaped = xmlEncodeSpecialChars(parent->doc, (const xmlChar *)text);
    xmlNodeSetContent(child, escaped);
    xmlFree(escaped);
}

char *vms_xml_serialize(xmlDocPtr doc)
{
    xmlBufferPtr buffer = xmlBufferCreate();
    xmlNodeDump(buffer, doc, xmlDocGetRootElement(doc), 0, 1);
    char *text = g_strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}
