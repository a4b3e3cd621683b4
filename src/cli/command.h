/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A command: one file, one exported constant; help, man pages and completion follow the table. */
#pragma once

#include "base/error.h"
#include "job/context.h"

typedef struct VmsCommand VmsCommand;

typedef struct {
    const VmsCommand *command;
    VmsContext *context;
    const char *const *arguments; /* NULL-terminated, as many as the command wants */
    bool json;                    /* print one JSON document */
    int exit_status;              /* of a run that succeeds: for check, whose refusal is a result */
} VmsInvocation;

struct VmsCommand {
    const char *name;
    const char *arguments;            /* of the usage line: "DOMAIN" */
    const char *summary;              /* one line */
    const char *description;          /* a few sentences for --help */
    const GOptionEntry *options;      /* nullable */
    const GOptionEntry *more_options; /* nullable */
    unsigned min_arguments, max_arguments;
    /* Prints its result on stdout. */
    bool (*run)(VmsInvocation *invocation, GError **error);
};

/* The index of value in names (NULL-terminated), 0 for NULL. USAGE lists them. */
bool vms_command_choice(const char *option, const char *value, const char *const *names,
                        int *ret_index, GError **error);

/* Writes text to stdout. FAILED, NO_SPACE where it does not arrive. */
bool vms_command_print(const char *text, GError **error);
