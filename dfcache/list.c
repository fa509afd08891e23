/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "dfcache/commands.h"
#include "dfcache/output.h"
#include "dfcache/session.h"
#include "p2p/api/methods.h"

#define NS         ((uint64_t)1000000000)
#define TIMEOUT_NS (60 * NS) /* with --cluster a scheduler is asked about each task */

struct list_call {
	struct call call;
	struct session *s;
	struct buf json;
	struct libscols_table *table;
	bool is_cluster;
	uint64_t n;
};

enum column { ID, STATE, SIZE, PIECES, PINNED, EXPIRES, TAG, CLUSTER, REPLICAS };

static const struct {
	const char *name;
	int flags;
	bool is_cluster;
} columns[] = {
	[ID] = {"ID"},
	[STATE] = {"STATE"},
	[SIZE] = {"SIZE", SCOLS_FL_RIGHT},
	[PIECES] = {"PIECES", SCOLS_FL_RIGHT},
	[PINNED] = {"PINNED"},
	[EXPIRES] = {"EXPIRES"},
	[TAG] = {"TAG"},
	[CLUSTER] = {"CLUSTER", 0, true},
	[REPLICAS] = {"REPLICAS", SCOLS_FL_RIGHT, true},
};

static int add_row(struct list_call *l, const Dfcachefiles__V1__Task *t)
{
	struct libscols_line *line = scols_table_new_line(l->table, NULL);
	char size[NUM_TEXT], pieces[NUM_TEXT], expires[32], replicas[NUM_TEXT];
	const char *cells[ARRAY_SIZE(columns)];

	num_format_size(t->content_length, size, sizeof(size));
	snprintf(pieces, sizeof(pieces), "%" PRIu32 "/%" PRIu32, t->pieces_present, t->piece_count);
	output_time((int64_t)(t->expires_ns / NS), expires);
	snprintf(replicas, sizeof(replicas), "%" PRIu64 "/%" PRIu64, t->persistent_replicas,
		t->wanted_replicas);
	cells[ID] = t->id ? t->id : "";
	cells[STATE] = t->state ? t->state : "";
	cells[SIZE] = size;
	cells[PIECES] = pieces;
	cells[PINNED] = t->pinned ? "yes" : "no";
	cells[EXPIRES] = *expires ? expires : "never";
	cells[TAG] = t->tag && *t->tag ? t->tag : "-";
	cells[CLUSTER] = t->task_state && *t->task_state ? t->task_state : "-";
	cells[REPLICAS] = replicas;
	if (!line)
		return -1;
	for (size_t i = 0, k = 0; i < ARRAY_SIZE(columns); i++) {
		if (columns[i].is_cluster && !l->is_cluster)
			continue;
		if (scols_line_set_data(line, k++, cells[i]) < 0)
			return -1;
	}
	return 0;
}

static void on_page(struct call *c, const uint8_t *p, size_t n)
{
	struct list_call *l = container_of(c, struct list_call, call);
	Dfcachefiles__V1__ListResponse *page =
		pbc_unpack(&dfcachefiles__v1__list_response__descriptor, p, n);

	for (size_t i = 0; page && i < page->n_tasks; i++) {
		if (l->table) {
			if (add_row(l, page->tasks[i]) < 0)
				failure_set(&l->s->failure, EXIT_FAILED, NULL, "out of memory");
		} else {
			buf_adds(&l->json, l->n ? ",\n" : "");
			output_task_json(page->tasks[i], &l->json);
		}
		l->n++;
	}
	for (size_t i = 0; page && i < page->n_notes; i++)
		report_warning("%s", page->notes[i]);
	if (page)
		protobuf_c_message_free_unpacked(&page->base, NULL);
	else
		failure_set(&l->s->failure, EXIT_FAILED,
			"are dfcache and dfdaemon of the same version?",
			"dfdaemon's answer is not a list of tasks");
}

static void on_done(struct call *c, int status, const char *message)
{
	struct list_call *l = container_of(c, struct list_call, call);

	if (status != RPC_OK)
		failure_from_rpc(&l->s->failure, status, message, client_endpoint(l->s->client));
}

static struct libscols_table *new_table(bool is_cluster)
{
	struct libscols_table *t = scols_new_table();

	if (!t)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		if (columns[i].is_cluster && !is_cluster)
			continue;
		if (!scols_table_new_column(t, columns[i].name, 0, columns[i].flags)) {
			scols_unref_table(t);
			return NULL;
		}
	}
	/* scripts and narrow terminals get whole ids: a line may be longer than the terminal */
	scols_table_enable_nowrap(t, 1);
	scols_table_set_termforce(t, SCOLS_TERMFORCE_NEVER);
	scols_table_set_termwidth(t, 10000);
	return t;
}

int list_run(struct cli *c)
{
	Dfcachefiles__V1__ListRequest rq = DFCACHEFILES__V1__LIST_REQUEST__INIT;
	struct list_call l = {.call = {.on_message = on_page, .on_done = on_done},
		.is_cluster = cli_flag(c, "cluster")};
	bool json = cli_flag(c, "json");
	struct session s;
	int r = session_begin(&s, c);

	if (r)
		return r;
	l.s = &s;
	rq.with_cluster = l.is_cluster;
	rq.tag = (char *)cli_text(c, "tag");
	rq.application = (char *)cli_text(c, "application");
	if (!json)
		l.table = new_table(l.is_cluster);
	if (!json && !l.table)
		r = -ENOMEM;
	else
		r = call_start(s.client, &l.call, METHOD_LOCAL_LIST, &rq.base, NULL, 0, NULL, 0,
			TIMEOUT_NS);
	if (r < 0)
		failure_set(
			&s.failure, EXIT_FAILED, NULL, "cannot start the call: %s", strerror(-r));
	else
		client_run(s.client, NULL, NULL);
	if (s.failure.status == EXIT_OK && json)
		printf("[%s]\n", buf_str(&l.json));
	else if (s.failure.status == EXIT_OK)
		scols_print_table(l.table);
	if (l.table)
		scols_unref_table(l.table);
	buf_fini(&l.json);
	return session_end(&s, "ls");
}
