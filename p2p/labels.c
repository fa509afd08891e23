/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/labels.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define OTHERS   (LABELS_MAX - 1)
#define TEXT_MAX 1024 /* as a task may have; a request is not checked yet when it is counted */

void labels_init(struct labels *l)
{
	*l = (struct labels){.n = 1};
}

void labels_fini(struct labels *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		free(l->v[i].tag);
		free(l->v[i].application);
	}
	labels_init(l);
}

static bool is_same(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

static unsigned find(struct labels *l, const char *tag, const char *application)
{
	struct label *p = &l->v[l->n];

	for (unsigned i = 0; i < l->n; i++)
		if (is_same(l->v[i].tag, tag) && is_same(l->v[i].application, application))
			return i;
	if (l->n == OTHERS || (tag && strlen(tag) > TEXT_MAX) ||
		(application && strlen(application) > TEXT_MAX))
		return OTHERS;
	p->tag = tag ? strdup(tag) : NULL;
	p->application = application ? strdup(application) : NULL;
	if ((tag && !p->tag) || (application && !p->application)) {
		free(p->tag);
		free(p->application);
		p->tag = p->application = NULL;
		return OTHERS;
	}
	return l->n++;
}

unsigned labels_begin(struct labels *l, const char *tag, const char *application)
{
	unsigned i = find(l, tag, application);

	l->v[i].n_begun++;
	l->v[i].n_running++;
	return i;
}

void labels_end(struct labels *l, unsigned which, bool has_failed)
{
	l->v[which].n_running--;
	l->v[which].n_failed += has_failed;
}

static void add_value(struct buf *out, const char *s)
{
	for (; s && *s; s++) {
		if (*s == '\n')
			buf_adds(out, "\\n");
		else if (*s == '"' || *s == '\\')
			buf_addf(out, "\\%c", *s);
		else
			buf_addc(out, *s);
	}
}

void labels_format(const struct labels *l, enum labels_count count, const char *name,
	const char *type, const char *more, struct buf *out)
{
	for (unsigned i = 0; i < LABELS_MAX; i++) {
		const struct label *p = &l->v[i];
		const uint64_t value[] = {[LABELS_BEGUN] = p->n_begun,
			[LABELS_FAILED] = p->n_failed,
			[LABELS_RUNNING] = p->n_running};

		if (i && !p->n_begun)
			continue;
		buf_addf(out, "%s{type=\"%s\",tag=\"", name, type);
		add_value(out, i == OTHERS ? "(others)" : p->tag);
		buf_adds(out, "\",app=\"");
		add_value(out, i == OTHERS ? "(others)" : p->application);
		buf_addf(out, "\"%s} %" PRIu64 "\n", more, value[count]);
	}
}
