/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virt/tpm.h"

#include "virt/xml.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>

/* Not configurable in libvirt, but with <source>. */
#define STATE_DIR "/var/lib/libvirt/swtpm"
#define EMULATOR "/domain/devices/tpm/backend[@type='emulator']"

bool vms_tpm_state_path(const char *xml, char **ret_path, bool *ret_is_file, GError **error)
{
    g_autoptr(xmlDoc) doc = vms_xml_parse(xml, error);
    if (!doc)
        return false;
    g_autofree char *uuid = vms_xml_string(doc, NULL, "/domain/uuid");
    g_autofree char *version = vms_xml_string(doc, NULL, EMULATOR "/@version");
    *ret_path = vms_xml_string(doc, NULL, EMULATOR "/source/@path");
    *ret_is_file = vms_xml_node(doc, NULL, EMULATOR "/source[@type='file']") != NULL;
    if (!*ret_path && uuid && vms_xml_node(doc, NULL, EMULATOR))
        *ret_path = g_strdup_printf(STATE_DIR "/%s/%s", uuid,
                                    g_strcmp0(version, "1.2") == 0 ? "tpm1.2" : "tpm2");
    return true;
}

/* name = "value" of a line that is no comment. */
static char *setting(const char *conf, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(conf ? conf : "", "\n", -1);
    char *found = NULL;
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) parts = g_strsplit(*line, "=", 2);
        if (!parts[0] || !parts[1] || !g_str_equal(g_strstrip(parts[0]), name))
            continue;
        g_auto(GStrv) quoted = g_strsplit(g_strstrip(parts[1]), "\"", 3);
        g_free(found);
        found = g_strdup(g_strv_length(quoted) == 3 ? quoted[1] : parts[1]);
    }
    return found;
}

/* "+123" and "123" are numbers, as in qemu.conf. */
static bool parse_id(const char *text, unsigned *ret_id)
{
    guint64 number;
    const char *digits = text[0] == '+' ? text + 1 : text;
    if (!g_ascii_string_to_unsigned(digits, 10, 0, G_MAXUINT32 - 1, &number, NULL))
        return false;
    *ret_id = (unsigned)number;
    return true;
}

void vms_tpm_owner(const char *conf, uid_t *ret_user, gid_t *ret_group)
{
    g_autofree char *user = setting(conf, "swtpm_user"), *group = setting(conf, "swtpm_group");
    const char *user_name = user ? user : "tss", *group_name = group ? group : "tss";
    const struct passwd *pw = getpwnam(user_name);
    const struct group *gr = getgrnam(group_name);
    unsigned number;
    *ret_user = pw ? pw->pw_uid : parse_id(user_name, &number) ? number : 0;
    *ret_group = gr ? gr->gr_gid : parse_id(group_name, &number) ? number : 0;
}
