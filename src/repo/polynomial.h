/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Polynomials over GF(2), one bit per coefficient: restic's chunker wants an irreducible one of
 * degree 53 in the config. vmsnap cuts at fixed offsets and never uses it, but restic refuses a
 * repository without. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_POLYNOMIAL_DEGREE 53

/* f is of degree 53. */
bool vms_polynomial_irreducible(uint64_t f);

/* A random irreducible one. FAILED if there is no randomness. */
bool vms_polynomial_random(uint64_t *ret_f, GError **error);
