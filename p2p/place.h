/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.h — the bytes of a complete task into an open file: reflink, else a copy that keeps holes.
 * Optionally checks a digest of the whole. On the loop's pool, in slices. Opens no path.
 */
#ifndef P2P_PLACE_H
#define P2P_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/digest.h"
#include "p2p/status.h"

struct foreign;
struct place;

enum place_how { PLACE_NOTHING, PLACE_REFLINK, PLACE_COPY };
const char *place_how_name(enum place_how h);

struct place_want {
	int from; /* the store's data; borrowed until fn */
	int to; /* regular, open for reading and writing; borrowed until fn; -1 = only check */
	uint64_t length;
	uid_t uid; /* whose output it is: foreign.h */
	bool has_digest;
	enum digest_algorithm algorithm;
	char digest[DIGEST_TEXT]; /* canonical, by digest_parse() */
};

/* place_start - fn once, from the loop, also after a cancel. DATA_LOSS: the digest does not match. */
struct place *place_start(struct foreign *f, const struct place_want *w,
	void (*fn)(void *arg, const struct outcome *why, enum place_how how), void *arg);
/* place_cancel - soon: fn with CANCELLED (or with what happened first) */
void place_cancel(struct place *p);
uint64_t place_bytes(const struct place *p); /* done so far; any thread */

#endif
