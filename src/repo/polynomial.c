/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rabin's test: f of prime degree n is irreducible over GF(2) if and only if it has no root (0 or
 * 1) and divides x^(2^n) - x. About one in 53 polynomials of degree 53 is irreducible. */
#include "repo/polynomial.h"

#include "codec/seal.h"

#define TOP (UINT64_C(1) << VMS_POLYNOMIAL_DEGREE)

/* a * a mod f, where a is of a degree below 53. */
static uint64_t square_mod(uint64_t a, uint64_t f)
{
    uint64_t result = 0;

    for (int bit = VMS_POLYNOMIAL_DEGREE - 1; bit >= 0; bit--) {
        result <<= 1;
        if ((result & TOP) != 0)
            result ^= f;
        if ((a >> bit & 1) != 0)
            result ^= a;
    }
    return result;
}

bool vms_polynomial_irreducible(uint64_t f)
{
    uint64_t power = 2; /* x */

    if (f >> VMS_POLYNOMIAL_DEGREE != 1 || (f & 1) == 0 || __builtin_parityll(f) == 0)
        return false;
    for (int i = 0; i < VMS_POLYNOMIAL_DEGREE; i++)
        power = square_mod(power, f);
    return power == 2;
}

bool vms_polynomial_random(uint64_t *ret_f, GError **error)
{
    uint64_t f;

    do {
        if (!vms_seal_random(&f, sizeof(f), error))
            return false;
        f = (f & (TOP - 1)) | TOP | 1;
    } while (!vms_polynomial_irreducible(f));
    *ret_f = f;
    return true;
}
