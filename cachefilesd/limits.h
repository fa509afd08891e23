/* SPDX-License-Identifier: GPL-2.0-or-later */
/* limits.h — the six percentages of cachefilesd.conf, as a set.
 *
 * Pure: no I/O, no clock. config.c fills struct limits from text, kcache.c sends the commands, the
 * culling thread computes thresholds. The kernel checks each command against the values in force at
 * that moment, so a valid file in an unlucky order would be refused; here the set is judged as a
 * whole and emitted in an order that is legal from any state.
 * Source: fs/cachefiles/daemon.c, cache.c; reference cachefiles.md §1.4-1.6.
 */
#ifndef CACHEFILESD_LIMITS_H
#define CACHEFILESD_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One resource (blocks or files), percent of the whole file system: 0 <= stop < cull < run < 100.
 * Above run culling ends, below cull it begins, below stop nothing new is stored. */
struct limits_triple {
	unsigned run, cull, stop;
};

struct limits {
	struct limits_triple blocks, files;
};

/* clang-format off: a designated initializer as a macro */
#define LIMITS_DEFAULT                                                                             \
	{                                                                                          \
		.blocks = {7, 5, 1}, .files = { 7, 5, 1 }                                          \
	}
/* clang-format on */

#define LIMITS_REASON 160
/* limits_check - 0, or -EINVAL and @reason (LIMITS_REASON bytes): which pair is wrong and why */
int limits_check(const struct limits *l, char *reason);

#define LIMITS_N_COMMANDS  10
#define LIMITS_COMMAND_MAX 16
/* limits_commands - the writes ("bstop 0%", …) that set @l from any state; no newline, NUL ended */
void limits_commands(const struct limits *l, char out[LIMITS_N_COMMANDS][LIMITS_COMMAND_MAX]);

/* Thresholds as the kernel computes them at bind: (total / 100) * percent, dividing first. A file
 * system that reports no inode total (btrfs) gets 0 everywhere: then files never matter. */
struct limits_level {
	uint64_t run, cull, stop;
};

struct limits_thresholds {
	struct limits_level blocks, files; /* blocks of f_bsize; inodes */
};

struct limits_thresholds limits_compute(
	const struct limits *l, uint64_t total_blocks, uint64_t total_files);

/* limits_culling - the kernel's hysteresis: is culling wanted, given that it was (@was)? */
bool limits_culling(
	const struct limits_thresholds *t, bool was, uint64_t avail_blocks, uint64_t avail_files);
/* limits_stopped - is either resource below stop (the kernel refuses to store)? */
bool limits_stopped(const struct limits_thresholds *t, uint64_t avail_blocks, uint64_t avail_files);
/* limits_deficit - how much is missing until culling may end; 0 = enough */
uint64_t limits_deficit(const struct limits_level *level, uint64_t avail);

#endif
