// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/limits.h"

#include <errno.h>
#include <stdio.h>

static int check_triple(const struct limits_triple *t, char prefix, char *reason)
{
	const char *what = NULL;

	if (t->stop >= t->cull)
		what = "stop must be below cull";
	else if (t->cull >= t->run)
		what = "cull must be below run";
	else if (t->run >= 100)
		what = "run must be below 100%";
	if (!what)
		return 0;
	snprintf(reason, LIMITS_REASON, "%crun %u%%, %ccull %u%%, %cstop %u%%: %s", prefix, t->run,
		prefix, t->cull, prefix, t->stop, what);
	return -EINVAL;
}

int limits_check(const struct limits *l, char *reason)
{
	char ignored[LIMITS_REASON];

	if (!reason)
		reason = ignored;
	if (check_triple(&l->blocks, 'b', reason) < 0)
		return -EINVAL;
	return check_triple(&l->files, 'f', reason);
}

/* stop 0 and run 99 make room for any cull in between; then stop and run close in on it. Each step
 * is legal whatever was set before, because 0 <= stop < cull < run < 100 holds in every state. */
static void triple_commands(
	const struct limits_triple *t, char prefix, char out[][LIMITS_COMMAND_MAX])
{
	snprintf(out[0], LIMITS_COMMAND_MAX, "%cstop 0%%", prefix);
	snprintf(out[1], LIMITS_COMMAND_MAX, "%crun 99%%", prefix);
	snprintf(out[2], LIMITS_COMMAND_MAX, "%ccull %u%%", prefix, t->cull % 100);
	snprintf(out[3], LIMITS_COMMAND_MAX, "%cstop %u%%", prefix, t->stop % 100);
	snprintf(out[4], LIMITS_COMMAND_MAX, "%crun %u%%", prefix, t->run % 100);
}

void limits_commands(const struct limits *l, char out[LIMITS_N_COMMANDS][LIMITS_COMMAND_MAX])
{
	triple_commands(&l->blocks, 'b', out);
	triple_commands(&l->files, 'f', out + LIMITS_N_COMMANDS / 2);
}

static struct limits_level compute_level(const struct limits_triple *t, uint64_t total)
{
	uint64_t one = total / 100;

	return (struct limits_level){
		.run = one * t->run, .cull = one * t->cull, .stop = one * t->stop};
}

struct limits_thresholds limits_compute(
	const struct limits *l, uint64_t total_blocks, uint64_t total_files)
{
	return (struct limits_thresholds){
		.blocks = compute_level(&l->blocks, total_blocks),
		.files = compute_level(&l->files, total_files),
	};
}

bool limits_culling(
	const struct limits_thresholds *t, bool was, uint64_t avail_blocks, uint64_t avail_files)
{
	if (avail_blocks < t->blocks.cull || avail_files < t->files.cull)
		return true;
	if (avail_blocks >= t->blocks.run && avail_files >= t->files.run)
		return false;
	return was;
}

bool limits_stopped(const struct limits_thresholds *t, uint64_t avail_blocks, uint64_t avail_files)
{
	return avail_blocks < t->blocks.stop || avail_files < t->files.stop;
}

uint64_t limits_deficit(const struct limits_level *level, uint64_t avail)
{
	return avail >= level->run ? 0 : level->run - avail;
}
