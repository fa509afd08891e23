/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/tls.h"
#include "p2p/config.h"

#define SECOND  UINT64_C(1000000000)
#define DAY_SEC 86400

static int load(struct tls_context **out, const char *whom, const char *ca, const char *cert,
	const char *key)
{
	struct tls_files f = {.ca = ca, .cert = cert, .key = key};
	char reason[TLS_REASON];
	int r;

	if (!ca || !*ca)
		return 0;
	r = tls_context_new(out, &f, reason);
	if (r < 0)
		log_err("daemon: cannot start: certificates for %s: %s", whom, reason);
	else
		log_notice("identity: TLS is on towards %s cert=%s", whom, cert);
	return r;
}

static void warn_expiry(struct identity *id, const struct tls_context *c, const char *whom)
{
	int64_t left = c ? tls_context_expires(c) - (int64_t)time(NULL) : INT64_MAX;

	if (left >= 7 * DAY_SEC)
		return;
	id->warned_ns = loop_now(id->loop);
	if (left <= 0)
		log_err("identity: our certificate for %s has expired: nobody accepts it", whom);
	else
		log_warning("identity: our certificate for %s expires in %lld hours", whom,
			(long long)left / 3600);
}

static void reload(struct tls_context *c, const char *whom)
{
	char reason[TLS_REASON];

	if (!c)
		return;
	if (tls_context_reload(c, reason) < 0)
		log_err("identity: the certificates for %s were not taken, the old ones stay: %s",
			whom, reason);
	else
		log_notice("identity: certificates read again for=%s", whom);
}

void identity_reload(struct identity *id)
{
	reload(id->peers, "peers");
	reload(id->scheduler, "the scheduler");
	reload(id->manager, "the manager");
}

static void check(struct tls_context *c, const char *whom)
{
	if (c && tls_context_has_changed(c))
		reload(c, whom);
}

static void on_timer(struct loop_op *op, int res)
{
	struct identity *id = container_of(op, struct identity, timer);
	uint64_t now = loop_now(id->loop);

	if (res == -ECANCELED)
		return;
	check(id->peers, "peers");
	check(id->scheduler, "the scheduler");
	check(id->manager, "the manager");
	if (!id->warned_ns || now - id->warned_ns >= DAY_SEC * SECOND) {
		warn_expiry(id, id->peers, "peers");
		warn_expiry(id, id->scheduler, "the scheduler");
		warn_expiry(id, id->manager, "the manager");
	}
	loop_timer(id->loop, &id->timer, now + id->check_ns);
}

int identity_init(struct identity *id, struct loop *l, const struct config *c)
{
	int r;

	id->loop = l;
	id->check_ns = c->tls_check_ns;
	loop_op_init(&id->timer, on_timer);
	r = load(&id->peers, "peers", c->tls_ca, c->tls_cert, c->tls_key);
	if (r == 0)
		r = load(&id->scheduler, "the scheduler", c->scheduler_ca, c->scheduler_cert,
			c->scheduler_key);
	if (r == 0)
		r = load(&id->manager, "the manager", c->manager_ca, c->manager_cert,
			c->manager_key);
	if (r == 0 && (id->peers || id->scheduler || id->manager))
		loop_timer(l, &id->timer, loop_now(l));
	return r;
}

void identity_stop(struct identity *id)
{
	if (id->loop)
		loop_cancel(id->loop, &id->timer);
}

void identity_fini(struct identity *id)
{
	id->peers = tls_context_unref(id->peers);
	id->scheduler = tls_context_unref(id->scheduler);
	id->manager = tls_context_unref(id->manager);
}
