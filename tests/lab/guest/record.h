/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The writer's records: fixed size, numbered from 1, record n at offset (n - 1) * RECORD_SIZE. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not a divisor of any block size, so that records cross blocks and a torn one can be seen. */
#define RECORD_SIZE 1000

typedef struct {
    uint64_t complete; /* whole records in the file, whatever they hold */
    uint64_t last;     /* number of the last good record, 0 if there is none */
    uint64_t gaps;     /* good records that stand at another number's place */
    uint64_t bad;      /* records that fail their checksum, the one at the very end not counted */
    uint64_t tail;     /* bytes of a record that was being written when the power went */
} RecordSummary;

/* Fills buf (RECORD_SIZE bytes) with record number seq of the given disk ('A' or 'B'). */
void record_make(uint8_t *buf, uint64_t seq, uint64_t nonce, char disk);

/* True if buf holds a whole record of that disk; its number in *ret_seq. */
bool record_read(const uint8_t *buf, char disk, uint64_t *ret_seq);

/* Reads all records of an open file. False if reading failed (errno). */
bool record_verify(int fd, char disk, RecordSummary *ret_summary);

/* 64-bit FNV-1a over whole words; enough to tell torn from whole. */
uint64_t record_hash(const uint64_t *words, size_t count);
