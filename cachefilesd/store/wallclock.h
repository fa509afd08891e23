/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wallclock.h — which wall-clock time may be believed when something is to expire. Pure.
 *
 * Expiry is the one thing that a wrong clock turns into loss, so:
 *  - nothing expires while the clock is earlier than the last time that was believed (a machine that
 *    boots in 1970), which is recorded on disk;
 *  - a jump forward (more than a minute against the monotonic clock, or more than an hour since the
 *    recorded time at start) is believed at once when the kernel says that the clock is synchronised,
 *    else only after it stood for ten minutes. Meanwhile time goes on from the last believed one.
 */
#ifndef CACHEFILESD_STORE_WALLCLOCK_H
#define CACHEFILESD_STORE_WALLCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct wallclock {
	uint64_t believed_ns; /* wall-clock time … */
	uint64_t at_mono_ns; /* … at this monotonic time */
	uint64_t doubt_since_ns; /* monotonic; 0 = none */
	int64_t doubt_offset_ns; /* wall - monotonic of the time in doubt */
};

struct wallclock_now {
	uint64_t wall_ns, mono_ns;
	bool is_synchronized;
};

/* wallclock_start - @recorded_ns: the last believed time, 0 = none */
void wallclock_start(struct wallclock *w, uint64_t recorded_ns, struct wallclock_now now);
/* wallclock_expiry - the time to judge expiry by; 0 = nothing may expire now */
uint64_t wallclock_expiry(struct wallclock *w, struct wallclock_now now);
/* wallclock_is_doubtful - is the clock not believed at present? */
bool wallclock_is_doubtful(const struct wallclock *w);
/* wallclock_read - the clocks of this machine */
struct wallclock_now wallclock_read(void);
uint64_t wallclock_mono_ns(void);

#endif
