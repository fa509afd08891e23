/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wallclock.c — see wallclock.h */
#include "cachefilesd/store/wallclock.h"

#include <sys/timex.h>
#include <time.h>

#define SECOND       1000000000ull
#define JUMP         (60 * SECOND)
#define JUMP_AT_BOOT (3600 * SECOND)
#define SETTLE       (600 * SECOND)

static void believe(struct wallclock *w, struct wallclock_now now)
{
	w->believed_ns = now.wall_ns;
	w->at_mono_ns = now.mono_ns;
	w->doubt_since_ns = 0;
}

static void doubt(struct wallclock *w, struct wallclock_now now)
{
	int64_t offset = (int64_t)(now.wall_ns - now.mono_ns);
	int64_t moved = offset - w->doubt_offset_ns;

	/* another jump while in doubt starts the wait again */
	if (!w->doubt_since_ns || moved > (int64_t)JUMP || moved < -(int64_t)JUMP) {
		w->doubt_since_ns = now.mono_ns ? now.mono_ns : 1;
		w->doubt_offset_ns = offset;
	}
}

void wallclock_start(struct wallclock *w, uint64_t recorded_ns, struct wallclock_now now)
{
	*w = (struct wallclock){.believed_ns = recorded_ns, .at_mono_ns = now.mono_ns};
	if (!recorded_ns ||
		(now.wall_ns >= recorded_ns &&
			(now.is_synchronized || now.wall_ns - recorded_ns <= JUMP_AT_BOOT)))
		believe(w, now);
	else
		doubt(w, now);
}

uint64_t wallclock_expiry(struct wallclock *w, struct wallclock_now now)
{
	uint64_t expected = w->believed_ns + (now.mono_ns - w->at_mono_ns);

	if (now.wall_ns + JUMP < expected || now.wall_ns < w->believed_ns) {
		/* behind: nothing expires; a synchronised clock that stays there is right */
		doubt(w, now);
		if (!now.is_synchronized || now.mono_ns - w->doubt_since_ns < SETTLE)
			return 0;
		believe(w, now);
		return now.wall_ns;
	}
	if (now.wall_ns > expected + JUMP && !now.is_synchronized) {
		doubt(w, now);
		if (now.mono_ns - w->doubt_since_ns < SETTLE)
			return expected;
	}
	believe(w, now);
	return now.wall_ns;
}

bool wallclock_is_doubtful(const struct wallclock *w)
{
	return w->doubt_since_ns != 0;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

uint64_t wallclock_mono_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

struct wallclock_now wallclock_read(void)
{
	struct timex tx = {0};
	int state = adjtimex(&tx);

	return (struct wallclock_now){.wall_ns = clock_ns(CLOCK_REALTIME),
		.mono_ns = wallclock_mono_ns(),
		.is_synchronized = state >= 0 && state != TIME_ERROR && !(tx.status & STA_UNSYNC)};
}
