/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What labd's threads share. Plain counters are atomic; each thread owns those it writes. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t nonce;              /* random, one per boot */
    _Atomic uint64_t tick;       /* heartbeat: periods since the start, sent or not */
    _Atomic uint64_t seq;        /* writer: last record that is on both disks */
    _Atomic uint64_t errors;     /* writer: failed writes and damage found at the start */
    _Atomic uint64_t bad_pages;  /* dirtier: pages that did not hold what was written */
    _Atomic uint64_t dirty_seq;  /* dirtier: pages written */
    _Atomic uint64_t dirty_rate; /* dirtier: MiB a second; set from outside */
    _Atomic uint64_t touched;    /* dirtier: MiB written once at the start */
} LabState;

extern LabState lab;

/* Value of NAME=… on the kernel command line, or fallback; "off" is 0. */
uint64_t lab_option(const char *name, uint64_t fallback);

/* Thread bodies; arg is unused. */
void *heartbeat_run(void *arg);
void *writer_run(void *arg);
void *dirty_run(void *arg);

/* Stops the writer between two records (true) or lets it go on. False if it did not get there
 * within 10 s. Calls nest by their count. */
bool writer_hold(bool hold);
bool writer_is_held(void);

/* Checks every page once, between two writes of the dirtier. Number of bad pages. */
uint64_t dirty_verify(uint64_t *ret_pages);
