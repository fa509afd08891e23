/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_event.c — download events in parts: never more content than the message has, and cutting it
 * elsewhere changes nothing that is told */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "dfcache/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void started(void *arg, uint64_t length)
{
	buf_addf(arg, "s%llu", (unsigned long long)length);
}

static void begin(void *arg, const Common__V2__Piece *p, uint64_t n)
{
	buf_addf(arg, "b%u %llu", p->number, (unsigned long long)n);
}

static void content(void *arg, const uint8_t *p, size_t n)
{
	buf_add(arg, p, n);
}

static void piece(void *arg, const Common__V2__Piece *p, bool has_content)
{
	buf_addf(arg, "p%u %d", p->number, has_content);
}

static int feed(struct buf *out, const uint8_t *p, size_t n, size_t step)
{
	static const struct event_handlers h = {started, begin, content, piece};
	struct event_reader e = {0};
	size_t at = 0;
	int r;

	do {
		size_t k = n - at < step ? n - at : step;
		uint8_t *exact = malloc(k + !k); /* overreads are seen */

		if (k)
			memcpy(exact, p + at, k);
		r = event_part(&e, exact, k, n, at, &h, out);
		free(exact);
		at += k;
	} while (r == 0 && at < n);
	event_reader_fini(&e);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	_cleanup_buf_ struct buf a = {0}, b = {0};
	int ra = feed(&a, p, n, SIZE_MAX), rb = feed(&b, p, n, 3);

	if (ra != rb || (ra == 0 && (a.len != b.len || (a.len && memcmp(a.data, b.data, a.len)))))
		abort();
	return 0;
}
