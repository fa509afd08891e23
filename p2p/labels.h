/* SPDX-License-Identifier: GPL-2.0-or-later */
/* labels.h — journeys counted by tag and application, for the metrics. Pure.
 *
 * Users choose both texts, so only the first LABELS_MAX - 1 pairs are told apart; what comes later is
 * one pair named "(others)".
 */
#ifndef P2P_LABELS_H
#define P2P_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#define LABELS_MAX 64

struct buf;

struct labels {
	struct label {
		char *tag, *application; /* owned; NULL = "" */
		uint64_t n_begun, n_failed, n_running;
	} v[LABELS_MAX]; /* the first: neither; the last: all others */
	unsigned n; /* told apart */
};

void labels_init(struct labels *l);
void labels_fini(struct labels *l);
/* labels_begin - NULL and "" are the same; returns what labels_end() wants */
unsigned labels_begin(struct labels *l, const char *tag, const char *application);
void labels_end(struct labels *l, unsigned which, bool has_failed);

enum labels_count { LABELS_BEGUN, LABELS_FAILED, LABELS_RUNNING };
/* labels_format - a line of Prometheus text for each pair, the first always; @more (",a=\"b\"") follows
 * the labels type (@type), tag and app */
void labels_format(const struct labels *l, enum labels_count count, const char *name,
	const char *type, const char *more, struct buf *out);

#endif
