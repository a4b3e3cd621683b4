/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named immutable objects: what a repository is kept in. Every store passes tests/conformance. */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

/* Names are relative, `/`-separated, only [a-z0-9._/-], no empty or dot-dot parts: checked by the
 * functions below (INVALID). All calls are safe from several threads at once. */

typedef struct VmsStore VmsStore;

/* Called once per object below a prefix, in no particular order. Return false with *error to stop.
 */
typedef bool (*VmsStoreListFunc)(void *user, const char *name, uint64_t size, GError **error);

/* A large object on its way (upload.h). What a store keeps beside it follows in its own struct. */
typedef struct {
    char *name;
    uint64_t size, part_size; /* size > part_size */
} VmsStoreParts;

typedef struct {
    /* See the functions below. length is UINT64_MAX for "to the end". */
    bool (*put)(VmsStore *store, const char *name, GBytes *data, bool only_new,
                GCancellable *cancellable, GError **error);
    GBytes *(*get)(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                   GCancellable *cancellable, GError **error);
    bool (*has)(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                GCancellable *cancellable, GError **error);
    bool (*list)(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                 GCancellable *cancellable, GError **error);
    bool (*remove)(VmsStore *store, const char *name, GCancellable *cancellable, GError **error);
    void (*free)(VmsStore *store);
    /* Nullable: list in ascending order of bytes, only names above after (nullable: all). Lets
     * retry go on with a long listing where it broke off. */
    bool (*list_after)(VmsStore *store, const char *prefix, const char *after,
                       VmsStoreListFunc func, void *user, GCancellable *cancellable,
                       GError **error);
    /* An object in parts, for upload.h. Each part but the last
     * has part_size bytes, part index begins at index * part_size. put_part may run in several
     * threads, and again for a part that failed as TRANSIENT; so may finish_parts. free_parts drops
     * what finish_parts has not made an object. */
    VmsStoreParts *(*begin_parts)(VmsStore *store, const char *name, uint64_t size,
                                  uint64_t part_size, GCancellable *cancellable, GError **error);
    bool (*put_part)(VmsStore *store, VmsStoreParts *parts, unsigned index, GBytes *data,
                     GCancellable *cancellable, GError **error);
    bool (*finish_parts)(VmsStore *store, VmsStoreParts *parts, GCancellable *cancellable,
                         GError **error);
    void (*free_parts)(VmsStore *store, VmsStoreParts *parts);
    /* vms_store_abort_uploads; *ret_count is added to. */
    bool (*abort_parts)(VmsStore *store, uint64_t older_than_s, unsigned *ret_count,
                        GCancellable *cancellable, GError **error);
} VmsStoreOps;

struct VmsStore {
    const VmsStoreOps *ops;
    char *location; /* for messages and --json, without secrets: "s3://bucket/prefix", "/path" */
};

/* Stores data under name, durable and whole on return, replacing what is there. only_new: EXISTS
 * where an object of that name is there already (atomic where the server can do it). NO_SPACE,
 * AUTH, TRANSIENT, NOT_FOUND (bucket or directory missing). */
bool vms_store_put(VmsStore *store, const char *name, GBytes *data, bool only_new,
                   GCancellable *cancellable, GError **error);

/* Reads length bytes from offset (length UINT64_MAX: to the end). NOT_FOUND; CORRUPT where the
 * object ends before offset+length. Never returns fewer bytes than asked for. */
GBytes *vms_store_get(VmsStore *store, const char *name, uint64_t offset, uint64_t length,
                      GCancellable *cancellable, GError **error);

/* ret_size nullable. A missing object is a value, not an error. */
bool vms_store_has(VmsStore *store, const char *name, bool *ret_exists, uint64_t *ret_size,
                   GCancellable *cancellable, GError **error);

/* prefix "" or ending in "/": all objects below it, recursively, with full names. A prefix that
 * does not exist lists nothing. */
bool vms_store_list(VmsStore *store, const char *prefix, VmsStoreListFunc func, void *user,
                    GCancellable *cancellable, GError **error);

/* Removing what is not there succeeds. */
bool vms_store_remove(VmsStore *store, const char *name, GCancellable *cancellable, GError **error);

void vms_store_free(VmsStore *store);

/* For stores that list places where other programs may put things: true where vms_store_put would
 * take the name. */
bool vms_store_valid_name(const char *name);
/* The same with INVALID, for the error message. */
bool vms_store_check_name(const char *name, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsStore, vms_store_free)
