/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/convert/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/num.h"
#include "p2p/config.h"
#include "p2p/convert/yaml.h"

#define SCHEDULER_DEFAULT "dragonfly-scheduler:8002" /* upstream's, without any dynconfig.yaml */
#define MAX_SETTINGS      128

enum kind {
	TEXT,
	NUMBER, /* within min..max: what is over is cut, and said */
	SIZE,
	DURATION,
	BOOL,
	ADDRESS, /* a URL without its scheme */
	PERCENT, /* handled apart: becomes limits */
	LEFT, /* means nothing here: `to` says why */
};

struct row {
	const char *from; /* ends in '.': everything below */
	enum kind kind;
	const char *to; /* "section.key", or why it is left */
	uint64_t min, max;
};

/* the names of v2.3.0 stand beside those of today; the first one that is there counts */
static const struct row rows[] = {
	{"host.idc", TEXT, "host.idc"},
	{"host.location", TEXT, "host.location"},
	{"host.hostname", TEXT, "host.hostname"},
	{"host.ip", TEXT, "host.ip"},
	{"host.schedulerClusterID", NUMBER, "manager.cluster_id", 0, INT64_MAX},
	{"download.server.socketPath", TEXT, "local.socket"},
	{"download.concurrentPieceCount", NUMBER, "download.concurrent_pieces", 1, 64},
	{"upload.server.ip", TEXT, "peer.listen"},
	{"upload.server.port", NUMBER, "peer.port", 1, 65535},
	{"upload.server.caCert", TEXT, "tls.ca_cert"},
	{"upload.server.cert", TEXT, "tls.cert"},
	{"upload.server.key", TEXT, "tls.key"},
	{"upload.client.", LEFT, "one certificate serves both directions: that of upload.server"},
	{"upload.disableShared", BOOL, "peer.disable_shared"},
	{"upload.bandwidthLimit", SIZE, "upload.bandwidth"},
	{"upload.rateLimit", SIZE, "upload.bandwidth"},
	{"manager.addr", ADDRESS, "manager.address"},
	{"manager.caCert", TEXT, "manager.ca_cert"},
	{"manager.cert", TEXT, "manager.cert"},
	{"manager.key", TEXT, "manager.key"},
	{"scheduler.announceInterval", DURATION, "peer.announce_interval"},
	{"scheduler.caCert", TEXT, "scheduler_tls.ca_cert"},
	{"scheduler.cert", TEXT, "scheduler_tls.cert"},
	{"scheduler.key", TEXT, "scheduler_tls.key"},
	{"dynconfig.refreshInterval", DURATION, "manager.refresh_interval"},
	{"storage.server.tcpPort", NUMBER, "peer.piece_port", 1, 65535},
	{"gc.policy.persistentCacheTaskTTL", DURATION, "import.default_ttl"},
	{"gc.policy.diskHighThresholdPercent", PERCENT, NULL},
	{"gc.policy.distHighThresholdPercent", PERCENT, NULL},
	{"gc.policy.diskLowThresholdPercent", PERCENT, NULL},
	{"gc.policy.distLowThresholdPercent", PERCENT, NULL},
	{"gc.policy.diskThreshold", PERCENT, NULL},
	{"gc.policy.distThreshold", PERCENT, NULL},
	{"health.server.ip", TEXT, "health.listen"},
	{"health.server.port", NUMBER, "health.port", 0, 65535},
	{"metrics.server.ip", TEXT, "metrics.listen"},
	{"metrics.server.port", NUMBER, "metrics.port", 0, 65535},

	{"download.bandwidthLimit", LEFT, "downloads are not limited here"},
	{"download.rateLimit", LEFT, "downloads are not limited here"},
	{"download.pieceTimeout", LEFT,
		"a download is given up by progress, not by piece: [download] progress_timeout"},
	{"download.collectedPieceTimeout", LEFT,
		"a download is given up by progress, not by piece: [download] progress_timeout"},
	{"download.protocol", LEFT, "pieces travel over Vortex TCP"},
	{"download.server.", LEFT, "requests are bounded by connection and user, not by rate"},
	{"download.", LEFT, "there are no downloads from origins here"},
	{"upload.server.", LEFT, "requests are bounded by connection and address, not by rate"},
	{"scheduler.", LEFT, "a download asks as long as it makes progress"},
	{"storage.dir", LEFT,
		"the cache is cachefilesd's (dir in cachefilesd.conf); what is there is not taken over"},
	{"storage.keep", LEFT, "the cache is always kept"},
	{"storage.", LEFT, "the store is cachefilesd's; pieces travel over TCP alone"},
	{"gc.interval", LEFT, "space is watched all the time, there is no interval"},
	{"gc.policy.", LEFT,
		"is about tasks of other kinds, or what cachefilesd decides by itself"},
	{"server.", LEFT, "there are no plugins, and the cache is cachefilesd's"},
	{"proxy.", LEFT, "there is no proxy here"},
	{"seedPeer.", LEFT, "there are no seed peers here"},
	{"stats.", LEFT, "there is no profiling server"},
	{"tracing.", LEFT, "traces are not exported"},
	{"network.", LEFT, "addresses of both families are used as they are configured"},
	{"backend.", LEFT, "there are no downloads from origins here"},
	{"security.", LEFT, "upstream does not use it either"},
	{"log.", LEFT, "see [daemon] log_level and log_file"},
	{"console", LEFT, "see dfdaemon --console"},
	{"verbose", LEFT, "see [daemon] log_level"},
};

struct setting {
	char name[64]; /* section.key */
	char value[YAML_PATH_MAX];
};

struct state {
	struct convert_result *r;
	struct setting settings[MAX_SETTINGS];
	size_t n_settings;
	int error;
};

/* ---- settings ---------------------------------------------------------------------------------- */

static const char *get(const struct state *s, const char *name)
{
	for (size_t i = 0; i < s->n_settings; i++)
		if (!strcmp(s->settings[i].name, name))
			return s->settings[i].value;
	return NULL;
}

static void set(struct state *s, const char *name, const char *value)
{
	struct setting *e = &s->settings[s->n_settings];

	if (get(s, name) || s->n_settings == MAX_SETTINGS)
		return;
	snprintf(e->name, sizeof(e->name), "%s", name);
	snprintf(e->value, sizeof(e->value), "%s", value);
	s->n_settings++;
}

static void left(struct state *s, struct yaml_item *item, const char *why)
{
	item->is_used = true;
	s->r->n_left++;
	buf_addf(&s->r->report, "left     %s = %s: %s\n", item->path, item->value, why);
}

static void taken(struct state *s, struct yaml_item *item, const char *where, const char *value)
{
	item->is_used = true;
	s->r->n_taken++;
	buf_addf(&s->r->report, "taken    %s = %s: %s = %s\n", item->path, item->value, where,
		value);
}

static void wrong(struct state *s, struct yaml_item *item, const char *why)
{
	item->is_used = true;
	s->error = -EINVAL;
	buf_addf(&s->r->report, "wrong    %s = %s (line %zu): %s\n", item->path, item->value,
		item->line, why);
}

/* ---- one key ----------------------------------------------------------------------------------- */

static bool is_true(const char *v)
{
	return !strcmp(v, "true") || !strcmp(v, "True") || !strcmp(v, "TRUE");
}

static void convert_value(struct state *s, const struct row *row, struct yaml_item *item)
{
	char text[YAML_PATH_MAX], where[80], reason[NUM_REASON];
	const char *colon = strstr(item->value, "://"), *dot = strchr(row->to, '.');
	uint64_t n = 0;
	int r = 0;

	snprintf(text, sizeof(text), "%s", item->value);
	switch (row->kind) {
	case NUMBER:
		r = num_u64(item->value, 0, UINT64_MAX, &n, reason);
		n = n < row->min ? row->min : n > row->max ? row->max : n;
		snprintf(text, sizeof(text), "%" PRIu64, n);
		break;
	case SIZE:
		r = num_size(item->value, &n, reason);
		snprintf(text, sizeof(text), "%" PRIu64, n);
		break;
	case DURATION:
		r = num_duration(item->value, &n, reason);
		num_format_duration(n, text, sizeof(text));
		break;
	case BOOL:
		snprintf(text, sizeof(text), "%s", is_true(item->value) ? "yes" : "no");
		break;
	case ADDRESS:
		snprintf(text, sizeof(text), "%s", colon ? colon + 3 : item->value);
		text[strcspn(text, "/")] = 0;
		break;
	default:
		break;
	}
	if (r < 0) {
		wrong(s, item, reason);
		return;
	}
	if (get(s, row->to)) {
		left(s, item, "the newer name of the same key is given too");
		return;
	}
	set(s, row->to, text);
	snprintf(where, sizeof(where), "[%.*s] %s", (int)(dot - row->to), row->to, dot + 1);
	taken(s, item, where, text);
}

static bool row_is_for(const struct row *row, const char *path)
{
	size_t n = strlen(row->from);

	if (row->from[n - 1] == '.')
		return !strncmp(path, row->from, n) ||
		       (!strncmp(path, row->from, n - 1) && strlen(path) == n - 1) ||
		       (!strncmp(path, row->from, n - 1) && path[n - 1] == '[');
	return !strcmp(path, row->from);
}

/* ---- limits ------------------------------------------------------------------------------------ */

/* newer - of two names of one key, that which counts; NULL: neither is there */
static struct yaml_item *newer(
	struct state *s, const struct yaml *y, const char *now, const char *before)
{
	struct yaml_item *a = yaml_find(y, now), *b = yaml_find(y, before);

	if (a && b)
		left(s, b, "the newer name of the same key is given too");
	return a ? a : b;
}

/* percentage - of the disk that is in use, as upstream means it; NULL: the default stays */
static struct yaml_item *percentage(struct state *s, struct yaml_item *item, uint64_t *pct)
{
	char reason[NUM_REASON];

	if (!item)
		return NULL;
	if (num_u64(item->value, 1, 99, pct, reason) < 0) {
		wrong(s, item, reason);
		return NULL;
	}
	return item;
}

/* convert_limits - upstream: full at `high` percent in use, then tasks are deleted down to `low`. Here: culling begins when
 * less than bcull is free and goes on until brun is; bstop is half of bcull, because upstream has nothing like it. */
static void convert_limits(struct state *s, const struct yaml *y)
{
	uint64_t high = 80, low = 60, bytes;
	struct yaml_item *has_high = percentage(s,
		newer(s, y, "gc.policy.diskHighThresholdPercent",
			"gc.policy.distHighThresholdPercent"),
		&high);
	struct yaml_item *has_low = percentage(s,
		newer(s, y, "gc.policy.diskLowThresholdPercent",
			"gc.policy.distLowThresholdPercent"),
		&low);
	struct yaml_item *item = newer(s, y, "gc.policy.diskThreshold", "gc.policy.distThreshold");
	struct buf *out = &s->r->cachefilesd;
	char reason[NUM_REASON], text[NUM_TEXT];

	if (low >= high && !s->error) {
		s->error = -EINVAL;
		buf_addf(&s->r->report,
			"wrong    gc.policy: the low threshold (%" PRIu64
			"%%) is not below the high one (%" PRIu64 "%%)\n",
			low, high);
		return;
	}
	buf_addf(out,
		"# upstream: culling at %" PRIu64 "%% of the disk in use, down to %" PRIu64
		"%%; here: of the disk free\n"
		"brun %" PRIu64 "%%\nbcull %" PRIu64 "%%\nbstop %" PRIu64 "%%\n",
		high, low, 100 - low, 100 - high, (100 - high) / 2);
	snprintf(text, sizeof(text), "%" PRIu64 "%%, bstop %" PRIu64 "%%", 100 - high,
		(100 - high) / 2);
	if (has_high)
		taken(s, has_high, "in cachefilesd.conf bcull", text);
	snprintf(text, sizeof(text), "%" PRIu64 "%%", 100 - low);
	if (has_low)
		taken(s, has_low, "in cachefilesd.conf brun", text);
	if (!item)
		return;
	if (num_size(item->value, &bytes, reason) < 0) {
		wrong(s, item, reason);
	} else if (!bytes) {
		left(s, item, "the whole disk, as it is here");
	} else {
		snprintf(text, sizeof(text), "%" PRIu64, bytes);
		buf_addf(out, "tasks_max_size %s\n", text);
		taken(s, item, "in cachefilesd.conf tasks_max_size", text);
	}
}

/* ---- who schedules ----------------------------------------------------------------------------- */

static void convert_dynconfig(struct state *s, struct yaml *y)
{
	_cleanup_buf_ struct buf list = {0};
	bool use_addrs = yaml_find(y, "scheduler.addrs[0]");

	for (size_t i = 0; i < y->n; i++) {
		struct yaml_item *item = &y->items[i];

		if (!strncmp(item->path, "scheduler.addrs[", 16) ||
			(!use_addrs && !strcmp(item->path, "scheduler.addr") && *item->value)) {
			buf_addf(&list, "%s%s", list.len ? ", " : "", item->value);
			taken(s, item, "[peer] schedulers", item->value);
		} else if (!strcmp(item->path, "scheduler.addr")) {
			left(s, item, "scheduler.addrs takes precedence");
		} else if (strstr(item->path, "blockList") || strstr(item->path, "block_list")) {
			left(s, item, "block lists are taken from a manager only");
		}
	}
	if (list.len && list.len < YAML_PATH_MAX)
		set(s, "peer.schedulers", buf_str(&list));
	else if (list.len) {
		s->error = -EINVAL;
		buf_addf(&s->r->report, "wrong    scheduler.addrs: more than fit here\n");
	}
}

static void choose_scheduler(struct state *s, bool has_dynconfig)
{
	set(s, "peer.scheduler", "dragonfly");
	if (get(s, "manager.address")) {
		if (get(s, "peer.schedulers"))
			buf_addf(&s->r->report,
				"note     both files name schedulers; those of the manager are used\n");
		return;
	}
	if (!get(s, "peer.schedulers")) {
		set(s, "peer.schedulers", SCHEDULER_DEFAULT);
		buf_addf(&s->r->report,
			"note     no manager%s: [peer] schedulers = " SCHEDULER_DEFAULT
			", upstream's default%s\n",
			has_dynconfig ? " and no scheduler" : "",
			has_dynconfig ? "" : " (or give --dynconfig FILE)");
	}
}

static void add_defaults(struct state *s)
{
	/* upstream's pages are open to all; who probes them from outside still does after the switch */
	set(s, "health.listen", "0.0.0.0");
	set(s, "metrics.listen", "0.0.0.0");
	if (get(s, "tls.ca_cert"))
		set(s, "tls.pieces", "no"); /* upstream's pieces are never encrypted */
	if (get(s, "local.socket"))
		set(s, "dfcache.endpoint", get(s, "local.socket"));
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void write_section(const struct state *s, const char *section, struct buf *out)
{
	size_t n = strlen(section);
	bool has_head = false;

	for (size_t i = 0; i < s->n_settings; i++) {
		const struct setting *e = &s->settings[i];

		if (strncmp(e->name, section, n) != 0 || e->name[n] != '.')
			continue;
		if (!strcmp(section, "peer") && !strcmp(e->name + n + 1, "schedulers") &&
			get(s, "manager.address"))
			continue;
		if (!has_head)
			buf_addf(out, "\n[%s]\n", section);
		has_head = true;
		buf_addf(out, "%s = %s\n", e->name + n + 1, e->value);
	}
}

/* check - what our own parser says to it */
static int check(struct state *s)
{
	_cleanup_buf_ struct buf errors = {0}, copy = {0};
	struct config c;
	int r = config_init(&c);

	if (r < 0)
		return r;
	buf_add(&copy, s->r->dfcache.data, s->r->dfcache.len);
	buf_addc(&copy, 0);
	if (copy.failed) {
		config_fini(&c);
		return -ENOMEM;
	}
	r = config_parse(&c, "dfcache.conf", (char *)copy.data, copy.len - 1, &errors);
	if (r == 0)
		r = config_check(&c, &errors);
	config_fini(&c);
	if (r > 0)
		buf_addf(&s->r->report, "wrong    the outcome is not accepted:\n%s",
			buf_str(&errors));
	return r > 0 ? -EINVAL : r;
}

static void write_files(struct state *s)
{
	static const char *const sections[] = {"host", "local", "peer", "tls", "scheduler_tls",
		"manager", "import", "download", "upload", "metrics", "health", "dfcache"};

	buf_adds(&s->r->dfcache, "# made by dfdaemon-convert of an upstream dfdaemon.yaml\n");
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		write_section(s, sections[i], &s->r->dfcache);
}

/* ---- all --------------------------------------------------------------------------------------- */

static void convert_items(struct state *s, struct yaml *y)
{
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		for (size_t i = 0; i < y->n; i++) {
			struct yaml_item *item = &y->items[i];

			if (item->is_used || rows[k].kind == PERCENT ||
				!row_is_for(&rows[k], item->path))
				continue;
			if (rows[k].kind == LEFT)
				left(s, item, rows[k].to);
			else if (!*item->value)
				left(s, item, "it has no value");
			else
				convert_value(s, &rows[k], item);
		}
	}
}

static void report_unknown(struct state *s, const struct yaml *y)
{
	for (size_t i = 0; i < y->n; i++) {
		if (y->items[i].is_used)
			continue;
		s->r->n_unknown++;
		buf_addf(&s->r->report, "unknown  %s = %s (line %zu)\n", y->items[i].path,
			y->items[i].value, y->items[i].line);
	}
}

static int parse(
	struct convert_result *r, struct yaml *y, const char *file, const char *text, size_t len)
{
	char reason[YAML_REASON];
	int e = yaml_parse(y, text, len, reason);

	if (e == -EINVAL)
		buf_addf(&r->report, "wrong    %s: %s\n", file, reason);
	return e;
}

int convert_run(struct convert_result *r, const char *yaml, size_t len, const char *dynconfig,
	size_t dynconfig_len)
{
	struct yaml y = {0}, dyn = {0};
	struct state *s;
	int e;

	*r = (struct convert_result){0};
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->r = r;
	e = parse(r, &y, "dfdaemon.yaml", yaml, len);
	if (e == 0 && dynconfig)
		e = parse(r, &dyn, "dynconfig.yaml", dynconfig, dynconfig_len);
	if (e == 0) {
		convert_limits(s, &y);
		convert_items(s, &y);
		convert_dynconfig(s, &dyn);
		report_unknown(s, &y);
		report_unknown(s, &dyn);
		choose_scheduler(s, dynconfig);
		add_defaults(s);
		write_files(s);
		e = s->error ? s->error : check(s);
	}
	yaml_fini(&y);
	yaml_fini(&dyn);
	free(s);
	if (r->dfcache.failed || r->cachefilesd.failed || r->report.failed)
		return -ENOMEM;
	return e;
}

void convert_fini(struct convert_result *r)
{
	buf_fini(&r->dfcache);
	buf_fini(&r->cachefilesd);
	buf_fini(&r->report);
}
