/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.h — crc32, sha256/sha512, xxh3-128. Pure; no allocation after _init but what OpenSSL does.
 *
 * CRC-32 is ISO-HDLC (zlib): crc32 of "123456789" is cbf43926. The running value is passed in and
 * starts at 0.
 */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t digest_crc32(uint32_t crc, const void *p, size_t n);
/* digest_crc32_combine - crc of A|B from crc(A), crc(B) and the length of B */
uint32_t digest_crc32_combine(uint32_t a, uint32_t b, uint64_t len_b);
/* digest_crc32_zeros - crc of @n zero bytes, in logarithmic time */
uint32_t digest_crc32_zeros(uint64_t n);

struct digest_128 {
	uint64_t hi, lo;
};
struct digest_128 digest_xxh3_128(const void *p, size_t n);
/* streaming xxh3-128; the state is large (about 600 bytes) and 64-byte aligned, so heap */
struct digest_xxh3;
struct digest_xxh3 *digest_xxh3_new(void);
struct digest_xxh3 *digest_xxh3_free(struct digest_xxh3 *x); /* returns NULL */
void digest_xxh3_reset(struct digest_xxh3 *x);
void digest_xxh3_update(struct digest_xxh3 *x, const void *p, size_t n);
struct digest_128 digest_xxh3_final(const struct digest_xxh3 *x);

enum digest_algorithm { DIGEST_CRC32, DIGEST_SHA256, DIGEST_SHA512 };
#define DIGEST_TEXT 144 /* "sha512:" + 128 hex + NUL */

/* streaming digest of one file */
struct digest;
struct digest *digest_new(enum digest_algorithm a); /* NULL: out of memory */
struct digest *digest_free(struct digest *d); /* returns NULL */
void digest_update(struct digest *d, const void *p, size_t n);
/* digest_final - "crc32:<decimal>", "sha256:<hex>", "sha512:<hex>" into @text */
void digest_final(struct digest *d, char text[DIGEST_TEXT]);

/* digest_parse - "<algorithm>:<value>". crc32 is a decimal (leading zeros allowed) of a 32-bit
 * number, sha values are hex in any case. @canonical gets the form that digest_final() writes.
 * Returns 0 or -EINVAL with @reason (NUM_REASON bytes, may be NULL). */
int digest_parse(
	const char *text, enum digest_algorithm *a, char canonical[DIGEST_TEXT], char *reason);

#endif
