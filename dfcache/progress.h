/* SPDX-License-Identifier: GPL-2.0-or-later */
/* progress.h — one line on the terminal: bytes, rate, time left, where the bytes come from.
 *
 * Drawn on standard error only when that is a terminal, at most 20 times a second; otherwise every
 * call does nothing. The width is asked for at each drawing, so a change of the window shows.
 */
#ifndef DFCACHE_PROGRESS_H
#define DFCACHE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct progress_view {
	const char *verb; /* "Importing" */
	uint64_t done, total; /* bytes; total 0 = not known */
	uint64_t elapsed_ns, rate; /* bytes per second */
	bool has_sources;
	uint64_t local_bytes, peer_bytes;
	unsigned n_peers; /* those whose names are known */
	unsigned files_done, files_total; /* total > 1: shown */
};

/* progress_format - the line for @width columns, never longer; plain ASCII. Pure. */
void progress_format(const struct progress_view *v, size_t width, struct buf *out);

#define PROGRESS_PEERS 64

struct progress {
	bool is_on, is_drawn;
	struct progress_view view;
	uint64_t started_ns, drawn_ns;
	uint64_t mark_ns, mark_done; /* the rate is of the time since the mark */
	uint64_t peers[PROGRESS_PEERS]; /* hashes of the parents seen; counted up to that many */
};

/* progress_width - columns that a line may have on the terminal behind standard error */
size_t progress_width(void);
void progress_begin(struct progress *p, bool wanted, const char *verb);
/* progress_piece - @is_remote: it came from a peer, @parent if that is known ("" or NULL: not) */
void progress_piece(struct progress *p, uint64_t bytes, bool is_remote, const char *parent);
/* progress_draw - if it is time */
void progress_draw(struct progress *p);
/* progress_end - wipe the line; with @last leave that text there instead */
void progress_end(struct progress *p, const char *last);

#endif
