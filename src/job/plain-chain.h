/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The images of one disk of a snapshot, from the overlay down to the full one, and the disk they
 * make together. Private to job/. */
#pragma once

#include "block/sink.h"
#include "job/plain-read.h"

typedef struct VmsPlainChain VmsPlainChain;

/* Reads the manifests of the snapshots below and looks for every image. CORRUPT names the image
 * that is missing, of another size, or does not fit. folder: the domain's. manifest and disk, which
 * is of it, must outlive it. */
VmsPlainChain *vms_plain_chain_open(VmsStore *store, const char *folder,
                                    const VmsManifest *manifest, const VmsManifestDisk *disk,
                                    GCancellable *cancellable, GError **error);
void vms_plain_chain_free(VmsPlainChain *chain);

/* Of all its images; the flat disk has no more data than they. */
uint64_t vms_plain_chain_bytes(const VmsPlainChain *chain);

/* Reads every image and checks it; keeps nothing. */
bool vms_plain_chain_verify(const VmsPlainChain *chain, const VmsPlainReadOptions *options,
                            unsigned *ret_images, GError **error);

/* Fetches the images into the new directory temp, checks them, and writes what a guest would read
 * to sink. The directory is gone afterwards, whatever happened. options: item and progress. */
bool vms_plain_chain_restore(const VmsPlainChain *chain, const VmsPlainReadOptions *options,
                             const char *temp, VmsSink *sink, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsPlainChain, vms_plain_chain_free)
