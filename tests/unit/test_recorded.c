/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_recorded.c — what Dragonfly's own programs said to ours and ours to them, byte for byte as it was
 * recorded (tests/interop/record.py), read by our code: HTTP/2, gRPC, messages, Vortex.
 *
 * tests/data/recorded/NAME.txt: "# " what it is; "> HEX" from who dialled, "< HEX" from who was dialled. A name that
 * begins with "their-client" is read as our server reads it, one with "their-server" as our client does, one with
 * "their-parent" as our child reads pieces, one with "their-child" as our parent reads requests. What was understood
 * must be what NAME.expected says. With arguments: these files, and what was understood is only printed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <libgen.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/rpc/h2.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/pbc.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/vortex/rx.h"
#include "p2p/vortex/tlv.h"

#define MAX_CHUNKS 4096
#define MAX_CALLS  64

struct chunk {
	char mark;
	uint8_t *p;
	size_t n;
};

struct recording {
	struct chunk v[MAX_CHUNKS];
	size_t n;
};

static const struct method {
	const char *path;
	const ProtobufCMessageDescriptor *request, *response;
} methods[] = {
	{"/grpc.health.v1.Health/Check", &grpc__health__v1__health_check_request__descriptor,
		&grpc__health__v1__health_check_response__descriptor},
	{METHOD_LOCAL_UPLOAD, &dfdaemon__v2__upload_persistent_cache_task_request__descriptor,
		&common__v2__persistent_cache_task__descriptor},
	{METHOD_LOCAL_DOWNLOAD, &dfdaemon__v2__download_persistent_cache_task_request__descriptor,
		&dfdaemon__v2__download_persistent_cache_task_response__descriptor},
	{METHOD_LOCAL_STAT, &dfdaemon__v2__stat_persistent_cache_task_request__descriptor,
		&common__v2__persistent_cache_task__descriptor},
	{METHOD_PEER_DOWNLOAD, &dfdaemon__v2__download_persistent_cache_task_request__descriptor,
		&dfdaemon__v2__download_persistent_cache_task_response__descriptor},
	{METHOD_PEER_SYNC_PIECES, &dfdaemon__v2__sync_persistent_cache_pieces_request__descriptor,
		&dfdaemon__v2__sync_persistent_cache_pieces_response__descriptor},
	{METHOD_PEER_SYNC_HOST, &dfdaemon__v2__sync_host_request__descriptor,
		&common__v2__host__descriptor},
	{METHOD_SCHED_ANNOUNCE_HOST, &scheduler__v2__announce_host_request__descriptor, NULL},
	{METHOD_SCHED_DELETE_HOST, &scheduler__v2__delete_host_request__descriptor, NULL},
	{METHOD_SCHED_ANNOUNCE_PEER,
		&scheduler__v2__announce_persistent_cache_peer_request__descriptor,
		&scheduler__v2__announce_persistent_cache_peer_response__descriptor},
	{METHOD_SCHED_UPLOAD_STARTED,
		&scheduler__v2__upload_persistent_cache_task_started_request__descriptor, NULL},
	{METHOD_SCHED_UPLOAD_FINISHED,
		&scheduler__v2__upload_persistent_cache_task_finished_request__descriptor,
		&common__v2__persistent_cache_task__descriptor},
	{METHOD_SCHED_STAT_TASK, &scheduler__v2__stat_persistent_cache_task_request__descriptor,
		&common__v2__persistent_cache_task__descriptor},
};

static const struct method *method_of(const char *path)
{
	for (size_t i = 0; path && i < ARRAY_SIZE(methods); i++)
		if (!strcmp(methods[i].path, path))
			return &methods[i];
	return NULL;
}

/* ---- what was understood, as text ---------------------------------------------------------------- */

static struct buf said;

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_adds(&said, text);
}

static void say_message(const ProtobufCMessage *m);

static void say_value(const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		say("\"%s\"", *(char *const *)at ? *(char *const *)at : "");
		break;
	case PROTOBUF_C_TYPE_BYTES:
		say("%zu bytes", ((const ProtobufCBinaryData *)at)->len);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		say_message(*(ProtobufCMessage *const *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		say("%s", *(const protobuf_c_boolean *)at ? "yes" : "no");
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		say("%g", *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		say("%" PRId64, *(const int64_t *)at);
		break;
	default:
		say("%" PRId32, *(const int32_t *)at);
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		return 8;
	default:
		return 4;
	}
}

static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const uint8_t *base = (const uint8_t *)m, *at = base + f->offset;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(base + f->quantifier_offset) == f->id;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)(base + f->quantifier_offset) > 0;
	if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)at && *(void *const *)at != f->default_value;
	if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
		return *(const protobuf_c_boolean *)(base + f->quantifier_offset);
	return true;
}

static void say_message(const ProtobufCMessage *m)
{
	say("{");
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const uint8_t *at = (const uint8_t *)m + f->offset;

		if (!is_set(m, f))
			continue;
		say(" %s=", f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(const size_t *)((const uint8_t *)m + f->quantifier_offset);

			say("[");
			for (size_t k = 0; k < n; k++) {
				say(k ? " " : "");
				say_value(f, *(const uint8_t *const *)at + k * size_of(f));
			}
			say("]");
		} else {
			say_value(f, at);
		}
	}
	say(" }");
}

static void say_bytes(const ProtobufCMessageDescriptor *type, const uint8_t *p, size_t n)
{
	ProtobufCMessage *m;

	if (!type) {
		say("%zu bytes\n", n);
		return;
	}
	m = pbc_unpack(type, p, n);
	assert_non_null(m);
	say_message(m);
	say("\n");
	protobuf_c_message_free_unpacked(m, NULL);
}

/* ---- recordings ------------------------------------------------------------------------------------ */

static int nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void read_recording(const char *path, struct recording *r)
{
	_cleanup_buf_ struct buf b = {0};
	char *line, *end;

	memset(r, 0, sizeof(*r));
	assert_int_equal(fd_read_file(AT_FDCWD, path, 16 << 20, &b), 0);
	for (line = (char *)buf_str(&b); (end = strchr(line, '\n')); line = end + 1) {
		struct chunk *c = &r->v[r->n];

		if (*line != '>' && *line != '<')
			continue;
		assert_true(r->n < MAX_CHUNKS);
		c->mark = *line;
		c->n = (size_t)(end - line - 2) / 2;
		c->p = malloc(c->n ? c->n : 1); /* exact: a byte read too far is seen */
		assert_non_null(c->p);
		for (size_t i = 0; i < c->n; i++)
			c->p[i] = (uint8_t)(nibble(line[2 + 2 * i]) << 4 | nibble(line[3 + 2 * i]));
		r->n++;
	}
}

static void free_recording(struct recording *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].p);
}

/* ---- gRPC: their client, our server ------------------------------------------------------------------- */

struct call {
	struct h2_stream s;
	const struct method *m;
};

static struct h2_stream *new_stream(void *arg)
{
	struct call *c = calloc(1, sizeof(*c));

	return c ? &c->s : NULL;
}

static bool on_request(struct h2_stream *s)
{
	struct call *c = container_of(s, struct call, s);
	const char *path = h2_stream_field(s, ":path");

	c->m = method_of(path);
	s->is_client_stream = path && strstr(path, "/Announce") && strstr(path, "Peer");
	s->max_message_bytes = 1 << 20;
	say("%s%s\n", path, c->m ? "" : " (another service)");
	return c->m != NULL;
}

static void on_server_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct call *c = container_of(s, struct call, s);

	say("  asks ");
	say_bytes(c->m->request, p, n);
	if (!s->is_client_stream)
		h2_stream_finish(s, RPC_OK, NULL);
}

static void on_half_close(struct h2_stream *s)
{
	h2_stream_finish(s, RPC_OK, NULL);
}

static void ignore(struct h2_stream *s)
{
}

static void release(struct h2_stream *s)
{
	h2_stream_fini(s);
	free(container_of(s, struct call, s));
}

static void wake(void *arg)
{
}

static void drain(struct h2 *h)
{
	struct iovec iov[H2_IOV];
	int k;

	while ((k = h2_output(h, iov, H2_IOV)) > 0) {
		size_t n = 0;

		for (int i = 0; i < k; i++)
			n += iov[i].iov_len;
		h2_sent(h, n);
		h2_process(h);
	}
}

static void read_their_client(const struct recording *r)
{
	static const struct h2_events ev = {new_stream, on_request, on_server_message,
		on_half_close, ignore, ignore, release, wake};
	struct rpc_limits l = rpc_limits_default;
	struct mem mem = mem_init(64 << 20);
	uint64_t now = UINT64_C(1) << 40;
	struct h2 *h;

	assert_int_equal(h2_new(&h, true, &l, &mem, &ev, NULL, now), 0);
	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].mark != '>')
			continue;
		h2_recv(h, r->v[i].p, r->v[i].n, now);
		assert_false(h2_is_dead(h));
		h2_process(h);
		drain(h);
	}
	h2_free(h);
	mem_trim(&mem);
}

/* ---- gRPC: their server, our client --------------------------------------------------------------------- */

static unsigned n_ended;

static void on_client_message(struct h2_stream *s, const uint8_t *p, size_t n)
{
	struct call *c = container_of(s, struct call, s);

	say("%s answers ", strrchr(c->m->path, '/') + 1);
	say_bytes(c->m->response, p, n);
}

static void on_client_end(struct h2_stream *s)
{
	struct call *c = container_of(s, struct call, s);

	n_ended++;
	if (s->end == H2_END_STATUS) /* others were still open when the recording ended */
		say("%s ends %s %s\n", strrchr(c->m->path, '/') + 1, rpc_status_name(s->status),
			s->message ? s->message : "");
}

/* what we asked then, read by our own server, so that the same streams are opened again */
static size_t asked(const struct recording *r, const char **paths)
{
	struct buf out = said;
	size_t n = 0;
	char *p, *end;

	said = (struct buf){0};
	read_their_client(r);
	for (p = (char *)buf_str(&said); (end = strchr(p, '\n')); p = end + 1) {
		*end = 0;
		if (*p != '/' || n == MAX_CALLS)
			continue;
		assert_non_null(method_of(p));
		paths[n++] = method_of(p)->path;
	}
	buf_fini(&said);
	said = out;
	return n;
}

static void read_their_server(const struct recording *r)
{
	static const struct h2_events ev = {.on_message = on_client_message,
		.on_drain = ignore,
		.on_end = on_client_end,
		.release = release,
		.wake = wake};
	const char *paths[MAX_CALLS];
	size_t n = asked(r, paths);
	struct rpc_limits l = rpc_limits_default;
	struct mem mem = mem_init(64 << 20);
	uint64_t now = UINT64_C(1) << 40;
	struct h2 *h;

	assert_true(n > 0);
	assert_int_equal(h2_new(&h, false, &l, &mem, &ev, NULL, now), 0);
	for (size_t i = 0; i < n; i++) {
		struct call *c = calloc(1, sizeof(*c));

		assert_non_null(c);
		c->m = method_of(paths[i]);
		h2_stream_init(&c->s, &mem);
		c->s.max_message_bytes = 1 << 20;
		assert_int_equal(h2_open(h, &c->s, c->m->path, "test", NULL, 0, UINT64_MAX), 0);
	}
	drain(h);
	n_ended = 0;
	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].mark != '<')
			continue;
		h2_recv(h, r->v[i].p, r->v[i].n, now);
		assert_false(h2_is_dead(h));
		h2_process(h);
		drain(h);
	}
	h2_free(h);
	assert_int_equal(n_ended, n);
	mem_trim(&mem);
}

/* ---- Vortex ------------------------------------------------------------------------------------------- */

static void read_their_child(const struct recording *r)
{
	struct vortex_download rq;
	uint8_t all[VORTEX_HEADER_SIZE + VORTEX_VALUE_MAX];
	struct vortex_header hd;
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].mark != '>')
			continue;
		assert_true(n + r->v[i].n <= sizeof(all));
		memcpy(all + n, r->v[i].p, r->v[i].n);
		n += r->v[i].n;
	}
	assert_true(n >= VORTEX_HEADER_SIZE);
	assert_int_equal(vortex_header_parse(all, &hd), 0);
	assert_int_equal(n, VORTEX_HEADER_SIZE + hd.length);
	assert_int_equal(
		vortex_download_parse(hd.tag, all + VORTEX_HEADER_SIZE, hd.length, &rq), 0);
	say("tag %u asks for piece %u of %s\n", hd.tag, rq.number, rq.task_id);
}

static void read_their_parent(const struct recording *r)
{
	struct digest_xxh3 *xxh3 = digest_xxh3_new();
	const uint8_t *content;
	struct vortex_rx rx;
	size_t n_content, total = 0;

	assert_non_null(xxh3);
	/* the recorded tasks have one piece of this length */
	vortex_rx_init(&rx, 0, 0, 1000, xxh3);
	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].mark != '<')
			continue;
		assert_int_equal(
			vortex_rx_feed(&rx, r->v[i].p, r->v[i].n, &content, &n_content), r->v[i].n);
		total += n_content;
	}
	say("state %d, %zu bytes, %s digest, crc32 %u %s\n", rx.state, total,
		rx.has_digest ? "a" : "no", rx.crc32,
		rx.state == VORTEX_RX_BROKEN ? rx.problem : "");
	digest_xxh3_free(xxh3);
}

/* ---- the tests ------------------------------------------------------------------------------------------ */

static void read_one(const char *path)
{
	static struct recording r;
	char copy[4096];
	const char *name;

	snprintf(copy, sizeof(copy), "%s", path);
	name = basename(copy);
	buf_fini(&said);
	read_recording(path, &r);
	if (!strncmp(name, "their-client", 12))
		read_their_client(&r);
	else if (!strncmp(name, "their-server", 12))
		read_their_server(&r);
	else if (!strncmp(name, "their-child", 11))
		read_their_child(&r);
	else
		read_their_parent(&r);
	free_recording(&r);
}

static void every_recording_is_understood(void **state)
{
	const char *top = getenv("TOP");
	char pattern[4096];
	unsigned n = 0;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/tests/data/recorded/*.txt", top ? top : ".");
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		_cleanup_buf_ struct buf expected = {0};
		char path[4096];

		printf("# %s\n", g.gl_pathv[i]);
		read_one(g.gl_pathv[i]);
		snprintf(path, sizeof(path), "%.*s.expected", (int)strlen(g.gl_pathv[i]) - 4,
			g.gl_pathv[i]);
		assert_int_equal(fd_read_file(AT_FDCWD, path, 1 << 20, &expected), 0);
		assert_string_equal(buf_str(&said), buf_str(&expected));
		n++;
	}
	globfree(&g);
	assert_true(n >= 9);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_recording_is_understood)};
	int r;

	if (argc > 1) {
		for (int i = 1; i < argc; i++) {
			read_one(argv[i]);
			printf("%s", buf_str(&said));
		}
		r = 0;
	} else {
		cmocka_set_message_output(CM_OUTPUT_TAP);
		r = cmocka_run_group_tests(tests, NULL, NULL);
	}
	buf_fini(&said);
	return r;
}
