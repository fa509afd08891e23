/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bucket.h — a token bucket: bytes that may be sent, refilled with time. Pure; @now in nanoseconds.
 *
 * The bucket holds a tenth of a second (at least 16 KiB): enough that a busy machine may be late, little
 * enough that ten seconds are within 2 % of what was set.
 */
#ifndef P2P_BUCKET_H
#define P2P_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t rate; /* bytes per second; 0 = no limit */
	uint64_t burst; /* the most it holds */
	uint64_t tokens, at_ns, remainder;
};

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now); /* full */
/* bucket_set_rate - from now on; what is in it stays, up to the new burst */
void bucket_set_rate(struct bucket *b, uint64_t rate, uint64_t now);
/* bucket_take - as many of @want as there are */
uint64_t bucket_take(struct bucket *b, uint64_t now, uint64_t want);
/* bucket_return - tokens taken and not used */
void bucket_return(struct bucket *b, uint64_t n);
/* bucket_when - the time at which min(@want, burst) tokens are there, @now if they are */
uint64_t bucket_when(struct bucket *b, uint64_t now, uint64_t want);

#endif
