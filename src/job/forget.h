/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removing snapshots from a repository: those that a policy does not keep, or those that are named.
 * What they alone refer to stays until prune. */
#pragma once

#include "job/context.h"
#include "job/prune.h"
#include "repo/forget-policy.h"

typedef struct {
    const char *repository;       /* name, URL or path; NULL: the only configured one */
    VmsKeepPolicy policy;         /* for each domain by itself */
    const char *domain;           /* name (the newest snapshot's) or UUID; NULL: all */
    const char *const *snapshots; /* id prefixes, instead of policy and domain; nullable */
    bool dry_run;
    bool prune; /* afterwards, where anything was removed */
    VmsPruneLimit max_unused;
} VmsForgetOptions;

typedef struct {
    char *snapshot; /* 64 hex */
    char *domain;   /* nullable, as all below: not every snapshot was made by vmsnap */
    char *uuid;
    char *host;
    int64_t time_us; /* 0: the snapshot file is damaged */
    bool keep;
    char **reasons; /* to keep it, NULL-terminated */
} VmsForgetEntry;

typedef struct {
    char *location;
    bool dry_run;
    GPtrArray *entries; /* of VmsForgetEntry*, by domain, newest first */
    unsigned kept, removed;
    VmsPruneResult *prune; /* nullable */
} VmsForgetResult;

void vms_forget_result_free(VmsForgetResult *result);

/* A policy touches only snapshots that vmsnap made; a named one may be anybody's. All names are
 * looked up before the first snapshot is removed. NOT_FOUND, INVALID (ambiguous), USAGE for an
 * empty policy without names. */
VmsForgetResult *vms_forget(VmsContext *context, const VmsForgetOptions *options, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsForgetResult, vms_forget_result_free)
