/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's migration stream as far as guest memory goes (QEMU's migration/savevm.c and
 * migration/ram.c). Private to block/.
 *
 * A stream is magic and version, then sections: the machine's name, the start of each device that
 * sends in pieces, pieces and an end of these, the whole of each other device, an end mark, a
 * description. Only what lies up to the last page is understood here; the rest is a tail that is
 * never looked at. */
#pragma once

#include "block/ram-image.h"
#include "block/ram-index.h"

#define VMS_RAM_PAGE 4096u /* bytes: x86; a stream of any other page size is UNSUPPORTED */

/* Flags of a page's record, in the low bits of its address. */
#define VMS_RAM_FLAG_ZERO 0x02u
#define VMS_RAM_FLAG_MEM_SIZE 0x04u
#define VMS_RAM_FLAG_PAGE 0x08u
#define VMS_RAM_FLAG_EOS 0x10u
#define VMS_RAM_FLAG_CONTINUE 0x20u

#define VMS_RAM_SECTION_PART 0x02
#define VMS_RAM_SECTION_END 0x03
#define VMS_RAM_SECTION_FOOTER 0x7e

typedef struct {
    uint8_t name[255]; /* not terminated */
    uint8_t name_len;
    uint64_t pages;
    uint64_t first; /* number of its first page in the index */
} VmsRamBlock;

typedef struct {
    GArray *blocks;      /* of VmsRamBlock, in the stream's order */
    uint64_t pages;      /* of all blocks */
    uint64_t records;    /* of pages, repeated ones too */
    uint32_t section;    /* the stream's number for memory */
    bool footers;        /* sections end with a footer (machines since 2.4) */
    bool ended;          /* there is an end section */
    uint64_t pages_from; /* offset of the first section with pages: all before it is the head */
    uint64_t tail_from;  /* offset behind the last section with pages */
} VmsRamStream;

/* Reads the stream from front to back and enters the last copy of each page into index.
 * UNSUPPORTED, with what and where, for everything that cannot be taken apart safely: then the
 * stream is not damaged, only not understood. */
VmsRamStream *vms_ram_stream_scan(const VmsRamFile *file, VmsRamIndex *index, GError **error);
void vms_ram_stream_free(VmsRamStream *stream);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmsRamStream, vms_ram_stream_free)
