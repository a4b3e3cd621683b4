/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line: common options, the command, its options and arguments; help. */
#pragma once

#include "cli/command.h"

typedef struct {
    /* The types are GOption's. */
    char *connect, *config, *progress;
    gboolean json, quiet, verbose, help, version;
} VmsParseCommon;

typedef struct {
    VmsParseCommon *common;
    const VmsCommand *command; /* NULL with help or version */
    char **arguments;          /* what is left, NULL-terminated; owned */
} VmsParse;

/* argv is not changed. USAGE. The values of a command's own options go to its own variables. */
bool vms_parse(VmsParse *parse, const char *const *argv, GError **error);
void vms_parse_clear(VmsParse *parse);

/* True where --json stands in argv, even if the rest of it is wrong. */
bool vms_parse_wants_json(const char *const *argv);

/* Text of --help (transfer full); command nullable. */
char *vms_parse_help(const VmsCommand *command);
