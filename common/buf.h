/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buf.h — growable bytes with a sticky out-of-memory flag.
 *
 * Append freely, then check buf_ok() once. The empty form is all zero; buf_fini() is safe on it
 * and twice. A nul byte always follows the content (not counted), so text can be used as is.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL while nothing was added */
	size_t len, cap;
	bool failed; /* an allocation failed; the content is incomplete */
};

void buf_fini(struct buf *b);
/* buf_reserve - room for @n more bytes; returns where they go, or NULL (and sets failed) */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* buf_consume - drop @n bytes (at most len) from the front */
void buf_consume(struct buf *b, size_t n);
/* buf_take - hand the bytes over (caller frees), leaving the empty form; NULL if failed or empty */
void *buf_take(struct buf *b, size_t *len);
/* buf_json_string - append @s as a quoted JSON string; invalid UTF-8 becomes U+FFFD */
void buf_json_string(struct buf *b, const char *s);

static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

static inline const char *buf_str(const struct buf *b)
{
	return b->data ? (const char *)b->data : "";
}

#define _cleanup_buf_ __attribute__((cleanup(buf_fini)))

#endif
