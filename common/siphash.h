/* SPDX-License-Identifier: GPL-2.0-or-later */
/* siphash.h — SipHash-c-d over bytes (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012)
 *
 * Pure. The rounds are arguments that callers give as constants, so each use is compiled for its own:
 * 1-3 keyed for tables that strangers fill, 2-4 with a zero key where a protocol says so. Input of any
 * alignment and length; the value is the same on every machine. */
#pragma once

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t siphash_rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static inline void siphash_rounds(uint64_t v[4], unsigned n)
{
	while (n--) {
		v[0] += v[1];
		v[1] = siphash_rotl(v[1], 13) ^ v[0];
		v[0] = siphash_rotl(v[0], 32);
		v[2] += v[3];
		v[3] = siphash_rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = siphash_rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = siphash_rotl(v[1], 17) ^ v[2];
		v[2] = siphash_rotl(v[2], 32);
	}
}

static inline uint64_t siphash(
	unsigned c, unsigned d, const uint64_t key[2], const void *bytes, size_t len)
{
	uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575),
		key[1] ^ UINT64_C(0x646f72616e646f6d), key[0] ^ UINT64_C(0x6c7967656e657261),
		key[1] ^ UINT64_C(0x7465646279746573)};
	const uint8_t *p = bytes;
	uint64_t m;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		siphash_rounds(v, c);
		v[0] ^= m;
	}
	m = (uint64_t)len << 56;
	for (size_t i = 0; i < left; i++)
		m |= (uint64_t)p[i] << (8 * i);
	v[3] ^= m;
	siphash_rounds(v, c);
	v[0] ^= m;
	v[2] ^= 0xff;
	siphash_rounds(v, d);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
