/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.c — see digest.h. CRC-32 by ISA-L where it was there at build time (about nine times
 * zlib's speed), by zlib otherwise; both take and give the same running value. */
#include "common/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include <xxhash.h>
#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* after xxhash.h: the same names, by the processor's best instructions */
#endif
#include <zlib.h>
#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#endif

#include "common/cleanup.h"
#include "common/num.h"

uint32_t digest_crc32(uint32_t crc, const void *p, size_t n)
{
#ifdef HAVE_ISAL
	return n ? crc32_gzip_refl(crc, p, n) : crc;
#else
	return n ? (uint32_t)crc32_z(crc, p, n) : crc; /* zlib answers 0 when p is NULL */
#endif
}

/* the longest length that zlib's signed type can say */
#define COMBINE_MAX ((uint64_t)(sizeof(z_off_t) >= 8 ? INT64_MAX : INT32_MAX))

uint32_t digest_crc32_combine(uint32_t a, uint32_t b, uint64_t len_b)
{
	while (len_b > COMBINE_MAX) {
		a = (uint32_t)crc32_combine(a, 0, (z_off_t)COMBINE_MAX); /* shift only */
		len_b -= COMBINE_MAX;
	}
	return len_b ? (uint32_t)crc32_combine(a, b, (z_off_t)len_b) : a;
}

uint32_t digest_crc32_zeros(uint64_t n)
{
	const uint32_t one = digest_crc32(0, "", 1);
	uint32_t crc = 0;
	uint64_t len = 0;

	/* n from its highest bit down: double what there is, then perhaps one byte more */
	for (int bit = 63; bit >= 0; bit--) {
		crc = digest_crc32_combine(crc, crc, len);
		len *= 2;
		if (n >> bit & 1) {
			crc = digest_crc32_combine(crc, one, 1);
			len++;
		}
	}
	return crc;
}

struct digest_128 digest_xxh3_128(const void *p, size_t n)
{
	XXH128_hash_t h = XXH3_128bits(p, n);

	return (struct digest_128){.hi = h.high64, .lo = h.low64};
}

/* struct digest_xxh3 is an XXH3_state_t under a name of ours: the library allocates and aligns it */
static XXH3_state_t *state(struct digest_xxh3 *x)
{
	return (XXH3_state_t *)x;
}

struct digest_xxh3 *digest_xxh3_new(void)
{
	struct digest_xxh3 *x = (struct digest_xxh3 *)XXH3_createState();

	if (x)
		digest_xxh3_reset(x);
	return x;
}

struct digest_xxh3 *digest_xxh3_free(struct digest_xxh3 *x)
{
	if (x)
		XXH3_freeState(state(x));
	return NULL;
}

void digest_xxh3_reset(struct digest_xxh3 *x)
{
	XXH3_128bits_reset(state(x));
}

void digest_xxh3_update(struct digest_xxh3 *x, const void *p, size_t n)
{
	XXH3_128bits_update(state(x), p, n);
}

struct digest_128 digest_xxh3_final(const struct digest_xxh3 *x)
{
	XXH128_hash_t h = XXH3_128bits_digest((const XXH3_state_t *)x);

	return (struct digest_128){.hi = h.high64, .lo = h.low64};
}

static const struct {
	const char *name;
	size_t hex_digits; /* 0: a decimal number of 32 bits */
} algorithms[] = {
	[DIGEST_CRC32] = {"crc32", 0},
	[DIGEST_SHA256] = {"sha256", 64},
	[DIGEST_SHA512] = {"sha512", 128},
};

struct digest {
	enum digest_algorithm algorithm;
	uint32_t crc;
	EVP_MD_CTX *md; /* NULL for crc32 */
};

struct digest *digest_new(enum digest_algorithm a)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->algorithm = a;
	if (a == DIGEST_CRC32)
		return d;
	d->md = EVP_MD_CTX_new();
	if (!d->md ||
		!EVP_DigestInit_ex(d->md, a == DIGEST_SHA256 ? EVP_sha256() : EVP_sha512(), NULL))
		return digest_free(d);
	return d;
}

struct digest *digest_free(struct digest *d)
{
	if (d) {
		EVP_MD_CTX_free(d->md);
		free(d);
	}
	return NULL;
}

void digest_update(struct digest *d, const void *p, size_t n)
{
	if (d->md)
		EVP_DigestUpdate(d->md, p, n);
	else
		d->crc = digest_crc32(d->crc, p, n);
}

void digest_final(struct digest *d, char text[DIGEST_TEXT])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int at;

	if (!d->md) {
		snprintf(text, DIGEST_TEXT, "crc32:%" PRIu32, d->crc);
		return;
	}
	EVP_DigestFinal_ex(d->md, md, &len);
	at = snprintf(text, DIGEST_TEXT, "%s:", algorithms[d->algorithm].name);
	for (unsigned i = 0; i < len; i++)
		at += snprintf(text + at, DIGEST_TEXT - (size_t)at, "%02x", md[i]);
}

__attribute__((format(printf, 2, 3))) static int fail(char *reason, const char *fmt, ...)
{
	va_list ap;

	if (reason) {
		va_start(ap, fmt);
		vsnprintf(reason, NUM_REASON, fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

int digest_parse(
	const char *text, enum digest_algorithm *a, char canonical[DIGEST_TEXT], char *reason)
{
	const char *colon = strchr(text, ':'), *value = colon ? colon + 1 : "";
	size_t i, len = colon ? (size_t)(colon - text) : 0, n;
	uint64_t crc;

	for (i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (strlen(algorithms[i].name) == len && !memcmp(algorithms[i].name, text, len))
			break;
	if (i == ARRAY_SIZE(algorithms))
		return fail(reason,
			"\"%.40s\" does not begin with crc32:, sha256: or sha512:, the known digests",
			text);
	n = algorithms[i].hex_digits;
	if (!n) {
		if (num_u64(value, 0, UINT32_MAX, &crc, NULL))
			return fail(reason,
				"\"%.40s\" is not a crc32 digest: a decimal number up to 4294967295 must follow",
				text);
		snprintf(canonical, DIGEST_TEXT, "crc32:%" PRIu64, crc);
	} else {
		if (strlen(value) != n || strspn(value, "0123456789abcdefABCDEF") != n)
			return fail(reason,
				"\"%.40s…\" is not a %s digest: %zu hex digits must follow", text,
				algorithms[i].name, n);
		snprintf(canonical, DIGEST_TEXT, "%s:%s", algorithms[i].name, value);
		for (char *p = canonical + len; *p; p++)
			if (*p >= 'A' && *p <= 'F')
				*p = (char)(*p - 'A' + 'a');
	}
	*a = (enum digest_algorithm)i;
	return 0;
}
