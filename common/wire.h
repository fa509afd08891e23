/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wire.h — bounds-checked reading and writing of fixed-width integers with a sticky error.
 *
 * Read (or write) all fields of a message, then check `failed` once: after the first overrun every
 * further read yields zero and nothing moves. Pure: no allocation, no I/O. Suffix: be = big endian
 * (network protocols), le = little endian (our records and sockets).
 */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire_rd {
	const uint8_t *p;
	size_t left;
	bool failed;
};

struct wire_wr {
	uint8_t *p; /* next byte */
	size_t left;
	bool failed;
};

static inline struct wire_rd wire_rd(const void *p, size_t n)
{
	return (struct wire_rd){.p = p, .left = n};
}

static inline struct wire_wr wire_wr(void *p, size_t n)
{
	return (struct wire_wr){.p = p, .left = n};
}

/* wire_skip - the next @n bytes, or NULL (and failed) if there are fewer */
static inline const uint8_t *wire_skip(struct wire_rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->failed || n > r->left) {
		r->failed = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static inline void wire_get(struct wire_rd *r, void *to, size_t n)
{
	const uint8_t *p = wire_skip(r, n);

	if (!n)
		return;
	if (p)
		memcpy(to, p, n);
	else
		memset(to, 0, n);
}

static inline void wire_put(struct wire_wr *w, const void *from, size_t n)
{
	if (w->failed || n > w->left) {
		w->failed = true;
		return;
	}
	if (n)
		memcpy(w->p, from, n);
	w->p += n;
	w->left -= n;
}

#define WIRE_INT(bits, order)                                                                      \
	static inline uint##bits##_t wire_u##bits##order(struct wire_rd *r)                        \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		wire_get(r, &v, sizeof(v));                                                        \
		return order##bits##toh(v);                                                        \
	}                                                                                          \
	static inline void wire_put_u##bits##order(struct wire_wr *w, uint##bits##_t v)            \
	{                                                                                          \
		v = hto##order##bits(v);                                                           \
		wire_put(w, &v, sizeof(v));                                                        \
	}

WIRE_INT(16, be)
WIRE_INT(32, be)
WIRE_INT(64, be)
WIRE_INT(16, le)
WIRE_INT(32, le)
WIRE_INT(64, le)

static inline uint8_t wire_u8(struct wire_rd *r)
{
	uint8_t v;

	wire_get(r, &v, 1);
	return v;
}

static inline void wire_put_u8(struct wire_wr *w, uint8_t v)
{
	wire_put(w, &v, 1);
}

#endif
