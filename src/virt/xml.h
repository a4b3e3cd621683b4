/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small helpers over libxml2 for domain XML. Network access and entities are off. */
#pragma once

#include <libxml/tree.h>

#include <glib.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* INVALID with libxml2's message and line. */
xmlDocPtr vms_xml_parse(const char *text, GError **error);

/* String value of an XPath relative to context (NULL: the document); NULL where it selects nothing.
 */
char *vms_xml_string(xmlDocPtr doc, xmlNodePtr context, const char *xpath);

/* Nodes that an XPath selects, in document order: xmlNodePtr, owned by doc; never NULL. */
GPtrArray *vms_xml_nodes(xmlDocPtr doc, xmlNodePtr context, const char *xpath);

/* The first of them, NULL if none. */
xmlNodePtr vms_xml_node(xmlDocPtr doc, xmlNodePtr context, const char *xpath);

/* Removes and frees every node that the XPath selects. */
void vms_xml_remove(xmlDocPtr doc, xmlNodePtr context, const char *xpath);

/* Sets the text of child NAME of parent, made where it is missing. */
void vms_xml_set_child(xmlNodePtr parent, const char *name, const char *text);

/* The document as UTF-8 text without XML declaration (transfer full). */
char *vms_xml_serialize(xmlDocPtr doc);
