/* SPDX-License-Identifier: GPL-2.0-or-later */
/* admin.c — rm, pin, unpin, ttl: one call for each id; the ids that it worked for are the result */
#include <inttypes.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "dfcache/commands.h"
#include "dfcache/output.h"
#include "dfcache/session.h"
#include "p2p/api/methods.h"

#define MS ((uint64_t)1000000)

/* an answer as JSON, and its release; @note: what the daemon has to say, if anything */
static void take_task(Dfcachefiles__V1__Task *t, struct buf *json)
{
	output_task_json(t, json);
	if (t->note && *t->note)
		report_warning("%s: %s", t->id ? t->id : "", t->note);
	protobuf_c_message_free_unpacked(&t->base, NULL);
}

static bool remove_one(struct session *s, char *id, struct buf *json)
{
	Dfcachefiles__V1__RemoveRequest rq = DFCACHEFILES__V1__REMOVE_REQUEST__INIT;
	Dfcachefiles__V1__RemoveResponse *re;

	rq.id = id;
	rq.local_only = cli_flag(s->cli, "local");
	re = client_unary(s->client, METHOD_LOCAL_REMOVE, &rq.base,
		&dfcachefiles__v1__remove_response__descriptor, STAT_TIMEOUT_NS, &s->failure);
	if (!re)
		return false;
	buf_addc(json, '{');
	output_json_text(json, true, "id", id);
	output_json_number(json, false, "removed", re->removed);
	output_json_text(json, false, "note", re->note);
	buf_addc(json, '}');
	if (re->note && *re->note)
		report_warning("%s: %s", id, re->note);
	protobuf_c_message_free_unpacked(&re->base, NULL);
	return true;
}

static bool pin_to(struct session *s, char *id, bool pinned, struct buf *json)
{
	Dfcachefiles__V1__PinRequest rq = DFCACHEFILES__V1__PIN_REQUEST__INIT;
	Dfcachefiles__V1__Task *t;

	rq.id = id;
	rq.has_pinned = true;
	rq.pinned = pinned;
	t = client_unary(s->client, METHOD_LOCAL_PIN, &rq.base, &dfcachefiles__v1__task__descriptor,
		STAT_TIMEOUT_NS, &s->failure);
	if (t)
		take_task(t, json);
	return t != NULL;
}

static bool pin_one(struct session *s, char *id, struct buf *json)
{
	return pin_to(s, id, true, json);
}

static bool unpin_one(struct session *s, char *id, struct buf *json)
{
	return pin_to(s, id, false, json);
}

/* each - until one fails; with several ids that one is named by the report */
static int each(struct cli *c, unsigned n, bool (*one)(struct session *, char *, struct buf *))
{
	bool json = cli_flag(c, "json");
	_cleanup_buf_ struct buf out = {0};
	struct session s;
	char what[160] = "";
	int r = session_begin(&s, c);

	if (r)
		return r;
	for (unsigned i = 0; i < n; i++) {
		buf_adds(&out, i ? ",\n" : "");
		snprintf(what, sizeof(what), "%s of %.128s", c->command->name, c->args[i]);
		if (!one(&s, c->args[i], &out))
			break;
		if (!json)
			puts(c->args[i]);
	}
	if (json && s.failure.status == EXIT_OK)
		printf("[%s]\n", buf_str(&out));
	return session_end(&s, what);
}

int remove_run(struct cli *c)
{
	return each(c, c->n_args, remove_one);
}

int pin_run(struct cli *c)
{
	return each(c, c->n_args, pin_one);
}

int unpin_run(struct cli *c)
{
	return each(c, c->n_args, unpin_one);
}

static bool ttl_one(struct session *s, char *id, struct buf *json)
{
	Dfcachefiles__V1__SetTtlRequest rq = DFCACHEFILES__V1__SET_TTL_REQUEST__INIT;
	Dfcachefiles__V1__Task *t;
	uint64_t ns;

	if (num_duration(s->cli->args[1], &ns, NULL) < 0)
		return false; /* ttl_run() has looked */
	rq.id = id;
	rq.has_ttl_ms = true;
	rq.ttl_ms = ns / MS;
	t = client_unary(s->client, METHOD_LOCAL_SET_TTL, &rq.base,
		&dfcachefiles__v1__task__descriptor, STAT_TIMEOUT_NS, &s->failure);
	if (t)
		take_task(t, json);
	return t != NULL;
}

int ttl_run(struct cli *c)
{
	char reason[NUM_REASON];
	uint64_t ns;

	if (num_duration(c->args[1], &ns, reason) < 0) {
		fprintf(stderr, "error: invalid value '%s' for '<DURATION>': %s\n", c->args[1],
			reason);
		return EXIT_USAGE;
	}
	return each(c, 1, ttl_one);
}
