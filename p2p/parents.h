/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parents.h — which piece to ask whom for, next: rules C2 to C7 of swarm-scheduling.md §5.2.
 *
 * Pure: no I/O, no clock (`now` is an argument, nanoseconds), deterministic with a seed. One per
 * running fetch. Knows the pieces still missing, what each parent has announced, what is running,
 * who is in backoff, and how long a piece takes; fetch.c does the rest.
 *
 * A parent is a slot number, valid from parents_add() to parents_remove(). Requests that run at a
 * removed parent must have been ended (parents_done/busy/failed/dropped) before.
 */
#ifndef P2P_PARENTS_H
#define P2P_PARENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARENTS_MAX 64 /* slots of one fetch; a scheduler's list is 4 + 16 */

struct parents;

struct parents_options {
	uint32_t n_pieces, piece_length;
	unsigned max_running; /* C: requests at once */
	uint64_t seed;
	uint64_t bandwidth; /* bits per second expected before the first piece, 0 = unknown */
};

int parents_new(struct parents **out, const struct parents_options *o); /* 0 or -ENOMEM */
struct parents *parents_free(struct parents *p); /* returns NULL */

/* parents_have - piece @number is here (arrived, or was here at the beginning) */
void parents_have(struct parents *p, uint32_t number);
bool parents_has(const struct parents *p, uint32_t number);
uint32_t parents_n_missing(const struct parents *p);
unsigned parents_n_running(const struct parents *p);
/* parents_missing - the first @max missing pieces in number order; returns how many were written */
size_t parents_missing(const struct parents *p, uint32_t *out, size_t max);

/* parents_add - a slot, or -ENOSPC (PARENTS_MAX) or -ENOMEM */
int parents_add(struct parents *p, bool is_holder);
void parents_set_holder(struct parents *p, int slot, bool is_holder);
void parents_remove(struct parents *p, int slot);
/* parents_disable - nothing more is asked there; the slot stays for the requests that still run */
void parents_disable(struct parents *p, int slot);
/* parents_announced - numbers out of range are ignored */
void parents_announced(struct parents *p, int slot, uint32_t number);
/* parents_useful - does @slot have a piece that is missing (requested ones included)? */
bool parents_useful(const struct parents *p, int slot);

enum parents_verdict {
	PARENTS_ASK, /* ask @slot for @number; it counts as running from now on */
	PARENTS_WAIT, /* nothing now; try again at @wake_ns (UINT64_MAX: only after an event) */
};
enum parents_verdict parents_next(
	struct parents *p, uint64_t now, int *slot, uint32_t *number, uint64_t *wake_ns);

/* How a request ended; each takes it off the running ones. */
/* parents_done - the piece is here; @duration_ns from request to last byte */
void parents_done(struct parents *p, int slot, uint32_t number, uint64_t duration_ns);
/* parents_busy - C4: leave the parent alone for 1.5 piece times (2 ms to 500 ms) */
void parents_busy(struct parents *p, int slot, uint32_t number, uint64_t now);
/* parents_failed - C7: this parent is not asked for this piece again. True: its second failure, the
 * caller should remove it. */
bool parents_failed(struct parents *p, int slot, uint32_t number);
/* parents_dropped - cancelled by the caller, or the parent was lost: nobody's fault is noted */
void parents_dropped(struct parents *p, int slot, uint32_t number);

/* parents_other_choice - C5: if the request for @number at @slot were given up, could it or another
 * piece be asked for elsewhere now? */
bool parents_other_choice(const struct parents *p, int slot, uint32_t number, uint64_t now);

/* t_p: mean duration of the last 8 pieces divided by the requests that ran beside them */
uint64_t parents_piece_time(const struct parents *p);
/* C5: how long to wait for a header when there is another choice: t_p / 2, 20 ms to 2 s */
uint64_t parents_patience(const struct parents *p);
/* C6: how long no byte may come inside a piece: twice the mean duration of a piece, 1 s to 20 s. (The
 * simulated 250 ms are less than a busy machine's scheduling and disk delays.) */
uint64_t parents_stall_timeout(const struct parents *p);

#endif
