/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"

#define NS         1000000000ull
#define DRAW_EVERY (NS / 20)
#define RATE_OVER  (2 * NS) /* old enough to be calm, young enough to be true */
#define MIN_BAR    8
#define MAX_BAR    30

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static const char *bytes(uint64_t n, char out[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(out, 16, u && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
	return out;
}

static const char *duration(uint64_t ns, char out[16])
{
	uint64_t s = ns / NS;

	if (s >= 360000)
		snprintf(out, 16, ">99h");
	else if (s >= 3600)
		snprintf(out, 16, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
			(unsigned)(s % 60));
	else
		snprintf(out, 16, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
	return out;
}

static void add_bar(const struct progress_view *v, size_t cells, struct buf *out)
{
	size_t full = (size_t)((double)v->done / (double)v->total * (double)cells);

	if (full > cells)
		full = cells;
	buf_addc(out, '[');
	for (size_t i = 0; i < cells; i++)
		buf_addc(out, i < full ? '#' : i == full ? '>' : '-');
	buf_addc(out, ']');
}

static void add_sources(const struct progress_view *v, struct buf *out)
{
	char b[16];

	if (v->local_bytes)
		buf_addf(out, " %s here", bytes(v->local_bytes, b));
	if (v->peer_bytes)
		buf_addf(out, "%s %s of ", v->local_bytes ? "," : "", bytes(v->peer_bytes, b));
	if (v->peer_bytes && v->n_peers)
		buf_addf(out, "%u%s ", v->n_peers, v->n_peers == PROGRESS_PEERS ? "+" : "");
	if (v->peer_bytes)
		buf_addf(out, "peer%s", v->n_peers == 1 ? "" : "s");
}

/* The parts in the order of what they tell; each is added while there is room, the bar takes what
 * is left. */
void progress_format(const struct progress_view *v, size_t width, struct buf *out)
{
	_cleanup_buf_ struct buf head = {0}, rate = {0}, left = {0}, sources = {0};
	size_t len, start = out->len;
	bool has_left, has_sources, has_bar;
	char a[16], b[16];

	if (v->files_total > 1)
		buf_addf(&head, "%u/%u ", v->files_done, v->files_total);
	if (v->total)
		buf_addf(&head, "%s/%s", bytes(v->done, a), bytes(v->total, b));
	else if (v->done)
		buf_adds(&head, bytes(v->done, a));
	if (v->rate)
		buf_addf(&rate, " %s/s", bytes(v->rate, a));
	if (v->total > v->done && v->rate)
		buf_addf(&left, " %s left",
			duration((uint64_t)((double)(v->total - v->done) / (double)v->rate * 1e9),
				a));
	else
		buf_addf(&left, " %s", duration(v->elapsed_ns, a));
	if (v->has_sources)
		add_sources(v, &sources);
	len = head.len + rate.len;
	has_left = len + left.len <= width;
	len += has_left ? left.len : 0;
	has_sources = len + sources.len <= width;
	len += has_sources ? sources.len : 0;
	has_bar = v->total && len + MIN_BAR + 3 <= width;
	len += has_bar ? MIN_BAR + 3 : 0;
	if (*v->verb && len + strlen(v->verb) + 1 <= width) {
		buf_addf(out, "%s%s", v->verb, head.len ? " " : "");
		len += strlen(v->verb) + 1;
	}
	buf_adds(out, buf_str(&head));
	if (has_bar) {
		size_t cells = MIN_BAR + width - len;

		buf_addc(out, ' ');
		add_bar(v, cells > MAX_BAR ? MAX_BAR : cells, out);
	}
	buf_adds(out, buf_str(&rate));
	if (has_left)
		buf_adds(out, buf_str(&left));
	if (has_sources)
		buf_adds(out, buf_str(&sources));
	if (out->len - start > width) {
		out->len = start + width;
		out->data[out->len] = '\0';
	}
}

void progress_begin(struct progress *p, bool wanted, const char *verb)
{
	*p = (struct progress){.is_on = wanted && isatty(STDERR_FILENO), .view.verb = verb};
	p->started_ns = p->mark_ns = now_ns();
}

void progress_piece(struct progress *p, uint64_t n, bool is_remote, const char *parent)
{
	struct progress_view *v = &p->view;
	uint64_t hash;
	unsigned i = 0;

	v->done += n;
	v->has_sources = true;
	if (!is_remote) {
		v->local_bytes += n;
		return;
	}
	v->peer_bytes += n;
	if (!parent || !*parent)
		return;
	hash = digest_xxh3_128(parent, strlen(parent)).lo;
	while (i < v->n_peers && p->peers[i] != hash)
		i++;
	if (i == v->n_peers && v->n_peers < PROGRESS_PEERS)
		p->peers[v->n_peers++] = hash;
}

size_t progress_width(void)
{
	struct winsize w;

	/* the last column stays free: some terminals go to the next line from there */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1)
		return w.ws_col - 1u;
	return 79;
}

void progress_draw(struct progress *p)
{
	struct progress_view *v = &p->view;
	_cleanup_buf_ struct buf b = {0};
	uint64_t now;

	if (!p->is_on)
		return;
	now = now_ns();
	if (p->is_drawn && now - p->drawn_ns < DRAW_EVERY)
		return;
	v->elapsed_ns = now - p->started_ns;
	if (now - p->mark_ns >= RATE_OVER / 4 && v->done >= p->mark_done)
		v->rate = (uint64_t)((double)(v->done - p->mark_done) * 1e9 /
				     (double)(now - p->mark_ns));
	if (now - p->mark_ns >= RATE_OVER) {
		p->mark_ns = now;
		p->mark_done = v->done;
	}
	buf_addc(&b, '\r');
	progress_format(v, progress_width(), &b);
	buf_adds(&b, "\033[K");
	if (buf_ok(&b))
		(void)fd_write_full(STDERR_FILENO, b.data, b.len);
	p->drawn_ns = now;
	p->is_drawn = true;
}

void progress_end(struct progress *p, const char *last)
{
	if (!p->is_on)
		return;
	if (p->is_drawn)
		fputs("\r\033[K", stderr);
	if (last)
		fprintf(stderr, "%s\n", last);
	p->is_on = false;
}
