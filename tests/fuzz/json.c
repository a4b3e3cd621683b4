/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of small documents, and the accessors on whatever is in it. */
#include "base/json.h"
#include "fuzz.h"

static const char *const members[] = {"a", "id", "disks", "return", "size", ""};

static void look(VmsJson *place, unsigned depth)
{
    for (size_t i = 0; depth < 5 && i < G_N_ELEMENTS(members); i++) {
        g_autoptr(GError) error = NULL;
        const char *text;
        uint64_t number;
        bool truth;
        VmsJson *inner;
        vms_json_has(place, members[i]);
        fuzz_settled(vms_json_string(place, members[i], &text, &error), &error);
        fuzz_settled(vms_json_uint64(place, members[i], &number, &error), &error);
        fuzz_settled(vms_json_bool(place, members[i], &truth, &error), &error);
        if (fuzz_settled(vms_json_object(place, members[i], &inner, &error), &error))
            look(inner, depth + 1);
        if (!fuzz_settled(vms_json_array(place, members[i], &inner, &error), &error))
            continue;
        for (size_t at = 0; at < MIN(vms_json_length(inner), 4); at++) {
            VmsJson *element;
            fuzz_settled(vms_json_element_string(inner, at, &text, &error), &error);
            if (fuzz_settled(vms_json_element_object(inner, at, &element, &error), &error))
                look(element, depth + 1);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    g_autofree char *text = fuzz_text(data, len);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmsJson) root = vms_json_parse(text, len, &error);
    if (fuzz_settled(root != NULL, &error))
        look(root, 0);
    return 0;
}
