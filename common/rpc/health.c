/* SPDX-License-Identifier: GPL-2.0-or-later */
/* health.c — see health.h */
#include "common/rpc/health.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/list.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/pbc.h"

#define MAX_REQUEST 1024
#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define NO_SUCH     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

struct name {
	struct list link;
	bool is_serving;
	char text[];
};

struct watcher {
	struct list link;
	struct rpc_call *call;
	char *name;
	int told;
};

struct health {
	struct list names, watchers;
	bool is_stopping;
};

static struct name *find(const struct health *h, const char *text)
{
	list_for_each (it, &h->names) {
		struct name *n = list_entry(it, struct name, link);

		if (!strcmp(n->text, text))
			return n;
	}
	return NULL;
}

static int status_of(const struct health *h, const char *text)
{
	const struct name *n = find(h, text);

	if (!n)
		return NO_SUCH;
	return n->is_serving && !h->is_stopping ? SERVING : NOT_SERVING;
}

struct health *health_new(void)
{
	struct health *h = malloc(sizeof(*h));

	if (!h)
		return NULL;
	list_init(&h->names);
	list_init(&h->watchers);
	h->is_stopping = false;
	return health_set(h, "", true) ? health_free(h) : h;
}

struct health *health_free(struct health *h)
{
	struct list *it;

	if (!h)
		return NULL;
	while ((it = list_pop(&h->names)))
		free(list_entry(it, struct name, link));
	free(h);
	return NULL;
}

static int answer(struct rpc_call *call, int status)
{
	Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	_cleanup_buf_ struct buf b = {0};

	m.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
	if (pbc_pack(&m.base, &b))
		return -ENOMEM;
	return rpc_call_send(call, buf_str(&b), b.len);
}

/* tell - the state of a watched name, when it is another than the last one told */
static void tell(struct health *h, struct watcher *w)
{
	int status = status_of(h, w->name);

	if (status == w->told)
		return;
	w->told = status;
	if (answer(w->call, status))
		rpc_call_finish(w->call, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

int health_set(struct health *h, const char *text, bool is_serving)
{
	struct name *n = find(h, text);

	if (!n) {
		n = malloc(sizeof(*n) + strlen(text) + 1);
		if (!n)
			return -ENOMEM;
		strcpy(n->text, text);
		list_push(&h->names, &n->link);
	}
	n->is_serving = is_serving;
	list_for_each (it, &h->watchers)
		tell(h, list_entry(it, struct watcher, link));
	return 0;
}

void health_stop(struct health *h)
{
	h->is_stopping = true;
	list_for_each (it, &h->watchers) {
		struct watcher *w = list_entry(it, struct watcher, link);

		tell(h, w);
		rpc_call_finish(w->call, RPC_UNAVAILABLE, "the server is stopping");
	}
}

/* requested - name in the request, to be freed; NULL: the call has been finished with an error */
static char *requested(struct rpc_call *call, const uint8_t *p, size_t n)
{
	Grpc__Health__V1__HealthCheckRequest *m =
		pbc_unpack(&grpc__health__v1__health_check_request__descriptor, p, n);
	char *text;

	if (!m) {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT, "not a HealthCheckRequest");
		return NULL;
	}
	text = strdup(m->service ? m->service : "");
	protobuf_c_message_free_unpacked(&m->base, NULL);
	if (!text)
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	return text;
}

static void on_check(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct health *h = service;
	_cleanup_free_ char *text = requested(call, p, n);

	if (!text)
		return;
	if (!find(h, text))
		rpc_call_finish(call, RPC_NOT_FOUND, "unknown service %s", text);
	else if (answer(call, status_of(h, text)))
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	else
		rpc_call_finish(call, RPC_OK, NULL);
}

static void on_watch(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct health *h = service;
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	w->name = requested(call, p, n);
	if (!w->name) {
		free(w);
		return;
	}
	w->call = call;
	w->told = -1;
	rpc_call_set_data(call, w);
	list_push(&h->watchers, &w->link);
	tell(h, w);
	if (h->is_stopping)
		rpc_call_finish(call, RPC_UNAVAILABLE, "the server is stopping");
}

static void on_watch_end(struct rpc_call *call, void *service, bool finished)
{
	struct watcher *w = rpc_call_data(call);

	if (!w)
		return;
	list_del(&w->link);
	free(w->name);
	free(w);
}

static const struct rpc_method methods[] = {
	{
		.path = "/grpc.health.v1.Health/Check",
		.max_request_bytes = MAX_REQUEST,
		.on_message = on_check,
	},
	{
		.path = "/grpc.health.v1.Health/Watch",
		.max_request_bytes = MAX_REQUEST,
		.on_message = on_watch,
		.on_end = on_watch_end,
	},
};

struct rpc_service health_service(struct health *h)
{
	return (struct rpc_service){methods, ARRAY_SIZE(methods), h};
}
