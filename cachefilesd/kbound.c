// SPDX-License-Identifier: GPL-2.0-or-later
/* kbound.c — what was bound, as text that outlives the process (see kcache.h). */
#include <stdio.h>
#include <string.h>

#include "cachefilesd/kcache.h"
#include "common/buf.h"
#include "common/cleanup.h"

static void format_limits(const struct limits *l, struct buf *out)
{
	buf_addf(out, "brun %u%%\nbcull %u%%\nbstop %u%%\n", l->blocks.run, l->blocks.cull,
		l->blocks.stop);
	buf_addf(out, "frun %u%%\nfcull %u%%\nfstop %u%%\n", l->files.run, l->files.cull,
		l->files.stop);
}

void kcache_format_bound(const struct kcache_config *cfg, bool use_secctx, struct buf *out)
{
	buf_addf(out, "dir %s\ntag %s\nsecctx %s\n", cfg->dir, cfg->tag ? cfg->tag : "",
		use_secctx && cfg->secctx ? cfg->secctx : "");
	format_limits(&cfg->limits, out);
}

bool kcache_has_limits(const char *bound, const struct limits *l)
{
	_cleanup_buf_ struct buf lines = {0};
	size_t n = strlen(bound);

	format_limits(l, &lines); /* they are the last lines */
	return n >= lines.len && !strcmp(bound + n - lines.len, buf_str(&lines));
}

/* The line of @text that starts with @word and a blank; its length in *@len, or NULL */
static const char *find_line(const char *text, const char *word, size_t word_len, size_t *len)
{
	for (const char *p = text; *p; p += *len + (p[*len] == '\n')) {
		*len = strcspn(p, "\n");
		if (*len > word_len && !strncmp(p, word, word_len) && p[word_len] == ' ')
			return p;
	}
	return NULL;
}

size_t kcache_compare_bound(const char *bound, const struct kcache_config *cfg, bool use_secctx,
	struct buf *differences)
{
	_cleanup_buf_ struct buf now = {0};
	size_t n = 0, len, other_len;

	kcache_format_bound(cfg, use_secctx, &now);
	for (const char *p = buf_str(&now); *p; p += len + (p[len] == '\n')) {
		size_t word_len = strcspn(p, " ");
		const char *other = find_line(bound, p, word_len, &other_len);

		len = strcspn(p, "\n");
		if (other && other_len == len && !memcmp(p, other, len))
			continue;
		n++;
		buf_addf(differences, "%.*s: bound is '%.*s', configured is '%.*s'\n",
			(int)word_len, p, other ? (int)(other_len - word_len - 1) : 0,
			other ? other + word_len + 1 : "", (int)(len - word_len - 1),
			p + word_len + 1);
	}
	return n;
}
