/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_store.c — the piece store through its socket: tasks live, are read, pinned, removed, survive */
#include "tests/unit/store_fixture.h"

static const char hello[] =
	"the quick brown fox jumps over the lazy dog, again and again and again";

static void a_task_travels(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = sizeof(hello),
		.reserve_bytes = sizeof(hello),
		.piece_length = 16,
		.uid = getuid(),
		.generation = 77,
		.attrs = "tag",
		.attrs_len = 3};
	uint8_t print[STORE_FPRINT_SIZE] = {1, 2, 3};
	struct store_piece p[8];
	struct record *r = malloc(sizeof(*r));
	struct record_piece rp[5];
	char back[sizeof(hello)];
	uint32_t lease;
	struct stat st;
	int data;

	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_true(c->r.data_fd >= 0 && c->r.record_fd >= 0 && c->r.read_fd >= 0);
	assert_int_equal(c->r.info.n_pieces, 5);
	assert_int_equal(c->r.info.state, STORE_PARTIAL);
	lease = c->r.lease;
	data = take_fd(&c->r.data_fd);
	assert_int_equal(fd_pwrite_full(data, hello, sizeof(hello), 0), 0);
	/* the read-only descriptor sees it; it cannot write */
	assert_int_equal(fd_pread_full(c->r.read_fd, back, sizeof(back), 0), sizeof(back));
	assert_string_equal(back, hello);
	assert_int_equal(pwrite(c->r.read_fd, "x", 1, 0), -1);
	assert_int_equal(pwrite(c->r.record_fd, "x", 1, 0), -1);
	call_close(c);

	/* too early: not all pieces */
	CALL(f, c, store_commit, lease, "123", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_INVALID);
	assert_non_null(strstr(c->message, "0 of 5"));
	for (uint32_t i = 0; i < 5; i++)
		p[i] = (struct store_piece){i, 1000 + i};
	p[5] = (struct store_piece){5, 1};
	CALL(f, c, store_pieces, lease, p, 6);
	assert_int_equal(c->r.status, STORE_INVALID);
	CALL(f, c, store_pieces, lease, p, 3);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_pieces, lease, p, 5);
	assert_int_equal(c->r.status, STORE_OK);

	/* the writer is still there */
	CALL(f, c, store_commit, lease, "123", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_BUSY_WRITER);
	close(data);
	CALL(f, c, store_commit, lease, "../x", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_INVALID);
	CALL(f, c, store_commit, lease, "123", print, "new attrs", 9);
	assert_int_equal(c->r.status, STORE_OK);
	assert_string_equal(c->r.info.id, "123");
	assert_int_equal(c->r.info.state, STORE_COMPLETE);
	assert_int_equal(c->r.info.generation, 77);
	/* the lease is over */
	CALL(f, c, store_release, lease);
	assert_int_equal(c->r.status, STORE_INVALID);

	CALL(f, c, store_open, "123");
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.attrs_len, 9);
	assert_memory_equal(c->attrs, "new attrs", 9);
	assert_int_equal(fd_pread_full(c->r.data_fd, back, sizeof(back), 0), sizeof(back));
	assert_string_equal(back, hello);
	assert_int_equal(fstat(c->r.data_fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	assert_int_equal(record_read(c->r.record_fd, r), 0);
	assert_string_equal(r->info.id, "123");
	assert_int_equal(record_read_pieces(c->r.record_fd, r, 0, 5, rp), 0);
	for (uint32_t i = 0; i < 5; i++)
		assert_true(rp[i].present && rp[i].crc32 == 1000 + i);
	lease = c->r.lease;
	call_close(c);
	CALL(f, c, store_stat, "123");
	assert_true(c->r.status == STORE_OK && c->r.info.leased);
	CALL(f, c, store_release, lease);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_stat, "123");
	assert_true(c->r.status == STORE_OK && !c->r.info.leased);
	CALL(f, c, store_stat, "124");
	assert_int_equal(c->r.status, STORE_NOT_FOUND);
	CALL(f, c, store_list, 0);
	assert_int_equal(c->r.n_entries, 1);
	assert_int_equal(c->r.cursor, 0);
	free(r);
	free(c);
	fixture_free(f);
}

static void the_same_again(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.id = "9", .length = 4, .piece_length = 4, .uid = getuid()};

	assert_int_equal(put_task(f, "9", "abcd", 4, 4, 1, false, 0), STORE_OK);
	assert_int_equal(put_task(f, "9", "abcd", 4, 4, 1, false, 0), STORE_EXISTS_SAME);
	assert_int_equal(put_task(f, "9", "abce", 4, 4, 2, false, 0), STORE_EXISTS_DIFFERENT);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_EXISTS_SAME);
	cr.length = 5;
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_EXISTS_DIFFERENT);
	/* nothing of the refused ones stays for long: one orphan of EXISTS_DIFFERENT, whose lease is
	 * still the client's */
	assert_int_equal(f->depot->n_partials, 1);
	free(c);
	fixture_free(f);
}

static void empty_task(void **state)
{
	struct fixture *f = fixture_ready();

	assert_int_equal(put_task(f, "empty", "", 0, 0, 1, false, 0), STORE_OK);
	fixture_free(f);
}

static void survives_a_restart(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 12, .piece_length = 4, .uid = getuid(), .id = "part"};
	struct store_piece p = {1, 42}, rest[] = {{0, 1}, {2, 3}};
	uint8_t token[STORE_TOKEN_SIZE], print[STORE_FPRINT_SIZE] = {5};
	struct record_piece rp[3];
	struct record *r = malloc(sizeof(*r));
	uint32_t lease;
	int data;

	assert_int_equal(put_task(f, "7", hello, sizeof(hello), 16, 3, true, f->wall_ns + 99 * SEC),
		STORE_OK);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	memcpy(token, c->r.token, sizeof(token));
	data = take_fd(&c->r.data_fd);
	call_close(c);
	lease = c->r.lease;
	CALL(f, c, store_pieces, lease, &p, 1);
	assert_int_equal(c->r.status, STORE_OK);

	fixture_stop(f);
	while (!f->n_lost)
		assert_int_equal(loop_step(f->loop, SEC), 0);
	fixture_start(f);
	fixture_connect(f);

	CALL(f, c, store_stat, "7");
	assert_int_equal(c->r.status, STORE_OK);
	assert_true(c->r.info.pinned);
	assert_int_equal(c->r.info.expires_ns, f->wall_ns + 99 * SEC);
	CALL(f, c, store_stat, "part");
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.state, STORE_PARTIAL);
	assert_int_equal(c->r.info.n_present, 1);
	assert_memory_equal(c->r.token, token, sizeof(token));
	CALL(f, c, store_attach, token);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 1);
	assert_int_equal(record_read(c->r.record_fd, r), 0);
	assert_int_equal(record_read_pieces(c->r.record_fd, r, 0, 3, rp), 0);
	assert_true(!rp[0].present && rp[1].present && rp[1].crc32 == 42 && !rp[2].present);
	call_close(c);
	lease = c->r.lease;
	/* somebody else may not have it meanwhile */
	CALL(f, c, store_attach, token);
	assert_int_equal(c->r.status, STORE_BUSY);
	/* the descriptor of before the restart is as good as ever */
	assert_int_equal(pwrite(data, "abcdefghijkl", 12, 0), 12);
	close(data);
	CALL(f, c, store_pieces, lease, rest, 2);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_commit, lease, "part", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_attach, token);
	assert_int_equal(c->r.status, STORE_NOT_FOUND);
	free(r);
	free(c);
	fixture_free(f);
}

/* a create of what somebody began before goes on with it, if it is the same content */
static void an_orphan_is_taken_up(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 12,
		.piece_length = 4,
		.uid = getuid(),
		.id = "part",
		.generation = 77,
		.reserve_bytes = 12};
	struct store_piece p = {1, 42}, rest[] = {{0, 1}, {2, 3}};
	uint8_t token[STORE_TOKEN_SIZE], print[STORE_FPRINT_SIZE] = {5};
	char path[200], hex[LAYOUT_TOKEN_TEXT];
	uint32_t lease;
	int data;

	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 0);
	memcpy(token, c->r.token, sizeof(token));
	lease = c->r.lease;
	call_close(c);
	CALL(f, c, store_pieces, lease, &p, 1);
	/* in use: another begins for itself */
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 0);
	assert_memory_not_equal(c->r.token, token, sizeof(token));
	call_close(c);
	CALL(f, c, store_abort, c->r.lease);
	CALL(f, c, store_release, lease);

	cr.generation = 78; /* other content */
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.info.n_present, 0);
	call_close(c);
	CALL(f, c, store_abort, c->r.lease);

	cr.generation = 77;
	cr.pin = true;
	cr.expires_ns = f->wall_ns + 9 * SEC;
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 1);
	assert_memory_equal(c->r.token, token, sizeof(token));
	lease = c->r.lease;
	data = take_fd(&c->r.data_fd);
	call_close(c);
	assert_int_equal(pwrite(data, "abcdefghijkl", 12, 0), 12);
	close(data);
	CALL(f, c, store_pieces, lease, rest, 2);
	CALL(f, c, store_commit, lease, "part", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_stat, "part");
	assert_true(c->r.info.pinned);
	assert_int_equal(c->r.info.expires_ns, f->wall_ns + 9 * SEC);

	/* one whose record is damaged is not in the way */
	cr.id = "torn";
	CALL(f, c, store_create, &cr);
	layout_token_text(c->r.token, hex);
	lease = c->r.lease;
	call_close(c);
	CALL(f, c, store_pieces, lease, &p, 1);
	CALL(f, c, store_release, lease);
	snprintf(path, sizeof(path), "%s/pieces/incoming/%s/meta", f->dir, hex);
	assert_int_equal(truncate(path, 0), 0);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 0);
	call_close(c);
	free(c);
	fixture_free(f);
}

static void deleted_while_read(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c)), *d = malloc(sizeof(*d));
	char back[sizeof(hello)];

	assert_int_equal(put_task(f, "1", hello, sizeof(hello), 16, 3, true, 0), STORE_OK);
	CALL(f, c, store_open, "1");
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, d, store_delete, "1");
	assert_int_equal(d->r.status, STORE_OK);
	assert_true(f->depot->held_bytes > 0);
	CALL(f, d, store_open, "1");
	assert_int_equal(d->r.status, STORE_NOT_FOUND);
	/* the same id can be imported again while the old one is still being read */
	assert_int_equal(put_task(f, "1", "abcd", 4, 4, 9, false, 0), STORE_OK);
	assert_int_equal(fd_pread_full(c->r.data_fd, back, sizeof(back), 0), sizeof(back));
	assert_string_equal(back, hello);
	CALL(f, d, store_release, c->r.lease); /* d is cleared, c is not */
	assert_int_equal(d->r.status, STORE_OK);
	call_close(c);
	assert_int_equal(f->depot->held_bytes, 0);
	CALL(f, d, store_stat, "1");
	assert_int_equal(d->r.info.length, 4);
	assert_int_equal(f->depot->n_tasks, 1);
	free(c);
	free(d);
	fixture_free(f);
}

static void pins_extends_attrs(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));

	assert_int_equal(put_task(f, "1", hello, sizeof(hello), 16, 3, false, 0), STORE_OK);
	assert_int_equal(f->depot->lru.n, 1);
	CALL(f, c, store_pin, "1", true);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(f->depot->lru.n, 0);
	assert_true(f->depot->pinned_bytes > 0);
	CALL(f, c, store_set_attrs, "1", "xyz", 3);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_extend, "1", f->wall_ns + 5 * SEC);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_stat, "1");
	assert_true(c->r.info.pinned && c->r.attrs_len == 3);
	/* past its time it goes, pinned or not */
	f->wall_ns += 4 * SEC;
	f->mono_ns += 4 * SEC;
	server_reload(f->server, &f->server_set);
	CALL(f, c, store_stat, "1");
	assert_int_equal(c->r.status, STORE_OK);
	f->wall_ns += SEC;
	f->mono_ns += SEC;
	server_reload(f->server, &f->server_set);
	do {
		CALL(f, c, store_stat, "1"); /* a worker takes it away */
	} while (c->r.status == STORE_OK);
	assert_int_equal(c->r.status, STORE_NOT_FOUND);
	assert_int_equal(f->depot->pinned_bytes, 0);
	assert_int_equal(f->depot->task_bytes, 0);
	free(c);
	fixture_free(f);
}

static void waits_for_space(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c)), *d = malloc(sizeof(*d));
	struct store_create cr = {
		.length = 1 << 20, .reserve_bytes = 1 << 20, .piece_length = 4096, .uid = getuid()};
	uint64_t cull = ((1 << 20) / 100) * 1; /* blocks, 1 % */

	f->space.blocks_avail = cull + 256 - 1;
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_NO_SPACE);
	assert_non_null(strstr(c->message, "wanted=1048576"));
	assert_non_null(strstr(c->message, "available=1044480"));
	/* one that waits is served when there is room, those behind it after it */
	memset(c, 0, sizeof(*c));
	c->op.fn = call_done;
	cr.wait_ns = 20 * SEC;
	store_create(f->client, &c->op, &cr);
	memset(d, 0, sizeof(*d));
	d->op.fn = call_done;
	store_create(f->client, &d->op, &cr);
	while (f->n_needed == 0)
		loop_step(f->loop, SEC / 10);
	assert_int_equal(f->needed, (cull + 256) * 4096);
	assert_false(c->done || d->done);
	f->space.blocks_avail = cull + 256;
	server_space_changed(f->server);
	call_wait(f, c);
	assert_int_equal(c->r.status, STORE_OK);
	assert_false(d->done);
	f->space.blocks_avail = cull + 512;
	call_wait(f, d);
	assert_int_equal(d->r.status, STORE_OK);
	assert_int_equal(f->depot->promised_bytes, 0);
	call_close(c);
	call_close(d);
	/* and one whose time is over hears the numbers */
	f->space.blocks_avail = 0;
	cr.wait_ns = SEC / 10;
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_NO_SPACE);
	assert_non_null(strstr(c->message, "cullable=0"));
	free(c);
	free(d);
	fixture_free(f);
}

static void culls_in_order(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	static const char *const order[] = {"task b", "task d", "task a"};
	struct cull_source *s = &f->depot->source;
	char label[128];
	uint64_t used, freed;

	for (char id[2] = "a"; id[0] <= 'e'; id[0]++) {
		f->wall_ns += SEC;
		assert_int_equal(put_task(f, id, hello, sizeof(hello), 16, 3, false, 0), STORE_OK);
	}
	f->wall_ns += SEC;
	CALL(f, c, store_touch, "a");
	CALL(f, c, store_pin, "c", true);
	CALL(f, c, store_open, "e");
	s->ops->begin(s);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
		assert_int_equal(s->ops->recheck(s), CULL_FREED);
		assert_int_equal(s->ops->remove(s, &freed, label, sizeof(label)), CULL_FREED);
		assert_string_equal(label, order[i]);
		assert_true(freed > 0);
	}
	assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_NONE);
	s->ops->end(s);
	call_close(c);
	free(c);
	fixture_free(f);
}

/* an import whose content is here already must not push that very copy out */
static void import_spares_its_own_copy(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 4,
		.reserve_bytes = 1 << 20,
		.piece_length = 4,
		.uid = getuid(),
		.wait_ns = SEC / 10};
	struct cull_source *s = &f->depot->source;
	char label[128];
	uint64_t used, freed;

	assert_int_equal(put_task(f, "same", "abcd", 4, 4, 3, false, 0), STORE_OK);
	f->wall_ns += SEC;
	assert_int_equal(put_task(f, "other", "abcde", 5, 4, 3, false, 0), STORE_OK);
	f->wall_ns += SEC;
	f->space.blocks_avail = 0;
	/* it is told of the look-alike before anything goes, and nothing was asked to make room */
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_NO_SPACE);
	assert_string_equal(c->r.info.id, "same");
	assert_int_equal(f->n_needed, 0);
	/* by its id it is the same content: nothing needs to be written */
	cr.id = "same";
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_EXISTS_SAME);
	assert_int_equal(f->n_needed, 0);
	/* other content of that length waits for room as everybody does */
	cr.id = "another";
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_NO_SPACE);
	assert_string_equal(c->r.info.id, "");
	assert_true(f->n_needed > 0);
	assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
	assert_int_equal(s->ops->remove(s, &freed, label, sizeof(label)), CULL_FREED);
	assert_string_equal(label, "task other");
	free(c);
	fixture_free(f);
}

static void orphans_go_first(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 4, .piece_length = 4, .uid = getuid(), .id = "o"};
	struct cull_source *s = &f->depot->source;
	char label[128];
	uint64_t used, freed;
	uint32_t lease;

	f->set.grace_ns = 10 * SEC;
	depot_reload(f->depot, &f->set);
	f->mono_ns += 100 * SEC;
	assert_int_equal(put_task(f, "a", "abcd", 4, 4, 3, false, 0), STORE_OK);
	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
	assert_true(used != 0); /* it is leased: the task would go */
	lease = c->r.lease;
	call_close(c);
	CALL(f, c, store_release, lease);
	assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
	assert_true(used != 0); /* its owner may come back */
	f->mono_ns += 10 * SEC;
	assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_READY);
	assert_int_equal(used, 0);
	assert_int_equal(s->ops->remove(s, &freed, label, sizeof(label)), CULL_FREED);
	assert_non_null(strstr(label, " of o"));
	assert_int_equal(f->depot->n_partials, 0);
	free(c);
	fixture_free(f);
}

/* a promise counts from when it is made until its blocks are really taken */
static void promises_count(void **state)
{
	struct fixture *f = fixture_ready();
	const uint64_t cull = ((1 << 20) / 100) * 1; /* blocks, 1 % */
	char message[STORE_MESSAGE_MAX];
	uint64_t wanted;

	f->space.blocks_avail = cull + 10;
	assert_int_equal(depot_admit(f->depot, 6 * 4096, false, 0, &wanted, message), STORE_OK);
	assert_int_equal(
		depot_admit(f->depot, 5 * 4096, false, 0, &wanted, message), STORE_NO_SPACE);
	assert_non_null(strstr(message, "available=16384"));
	assert_int_equal(wanted, (cull + 11) * 4096);
	assert_int_equal(depot_admit(f->depot, 4 * 4096, false, 0, &wanted, message), STORE_OK);
	f->space.blocks_avail -= 6; /* the first is real now */
	depot_settle(f->depot, 6 * 4096);
	assert_int_equal(depot_admit(f->depot, 1, false, 0, &wanted, message), STORE_NO_SPACE);
	depot_settle(f->depot, 4 * 4096);
	assert_int_equal(depot_admit(f->depot, 4 * 4096, false, 0, &wanted, message), STORE_OK);
	depot_settle(f->depot, 4 * 4096);
	fixture_free(f);
}

/* the blocks are there before the caller has written a byte */
static void a_reserve_is_real(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 3 << 20,
		.reserve_bytes = 1 << 20,
		.piece_length = 1 << 20,
		.uid = getuid()};
	struct stat st;

	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(fstat(c->r.data_fd, &st), 0);
	assert_int_equal(st.st_size, 3 << 20);
	assert_true(st.st_blocks * 512 >= 1 << 20 && st.st_blocks * 512 < 2 << 20);
	call_close(c);
	free(c);
	fixture_free(f);
}

/* who still could write is told so; the commit succeeds when the last writer is gone, and then
 * nobody can become one */
static void no_writer_survives_a_commit(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 4, .piece_length = 4, .uid = getuid(), .id = "w"};
	struct store_piece p = {0, digest_crc32(0, "abcd", 4)};
	uint8_t print[STORE_FPRINT_SIZE] = {1};
	struct stat st;
	uint32_t lease;
	int writer;

	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	lease = c->r.lease;
	assert_int_equal(pwrite(c->r.data_fd, "abcd", 4, 0), 4);
	writer = dup(c->r.data_fd);
	call_close(c);
	CALL(f, c, store_pieces, lease, &p, 1);
	CALL(f, c, store_commit, lease, "w", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_BUSY_WRITER);
	CALL(f, c, store_open, "w");
	assert_int_equal(c->r.status, STORE_NOT_FOUND);
	close(writer);
	CALL(f, c, store_commit, lease, "w", print, NULL, 0);
	assert_int_equal(c->r.status, STORE_OK);
	CALL(f, c, store_open, "w");
	assert_int_equal(fstat(c->r.data_fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	assert_int_equal(fcntl(c->r.data_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(pwrite(c->r.data_fd, "x", 1, 0), -1);
	call_close(c);
	free(c);
	fixture_free(f);
}

/* @f has no server here: time does not pass between two of its clocks */
static void wake_up_at(struct fixture *f, uint64_t wall, uint64_t mono)
{
	char reason[256];

	f->depot = depot_free(f->depot);
	f->wall_ns = wall;
	f->mono_ns = mono;
	assert_int_equal(depot_new(&f->depot, f->dirfd, &f->set, &f->world, reason), 0);
}

static void expire_at(struct fixture *f, uint64_t wall, uint64_t mono)
{
	uint64_t next;

	f->wall_ns = wall;
	f->mono_ns = mono;
	depot_expire(f->depot, &next);
}

/* a machine whose clock is wrong when it starts, or steps, loses nothing by that */
static void a_wrong_clock_expires_nothing(void **state)
{
	struct fixture *f = fixture_ready();
	const uint64_t day = 24 * 3600 * SEC, t0 = f->wall_ns;
	char id[8];

	for (int i = 0; i < 5; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		assert_int_equal(put_task(f, id, "abcd", 4, 4, 3, i < 2, t0 + day), STORE_OK);
	}
	fixture_stop(f);
	f->clock_is_free = true;
	wake_up_at(f, t0 + 10 * SEC, SEC);
	expire_at(f, t0 + 100 * SEC, 91 * SEC); /* and the time is written down */
	assert_int_equal(f->depot->n_tasks, 5);
	/* a step of ten years */
	expire_at(f, t0 + 3650 * day, 92 * SEC);
	assert_int_equal(f->depot->n_tasks, 5);
	/* boots in 1970, then in 2100 */
	wake_up_at(f, 5 * SEC, SEC);
	expire_at(f, 10 * SEC, 6 * SEC);
	assert_int_equal(f->depot->n_tasks, 5);
	wake_up_at(f, t0 + 36500 * day, SEC);
	expire_at(f, f->wall_ns + SEC, 2 * SEC);
	assert_int_equal(f->depot->n_tasks, 5);
	/* the right time, and NTP says so: still here; a day later they go, pinned or not */
	f->clock_is_free = false;
	expire_at(f, t0 + 200 * SEC, 1000 * SEC);
	assert_int_equal(f->depot->n_tasks, 5);
	expire_at(f, t0 + day + SEC, 1000 * SEC + day);
	expire_at(f, t0 + day + 700 * SEC, 1700 * SEC + day);
	assert_int_equal(f->depot->n_tasks, 0);
	f->depot = depot_free(f->depot);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_travels),
		cmocka_unit_test(the_same_again),
		cmocka_unit_test(empty_task),
		cmocka_unit_test(survives_a_restart),
		cmocka_unit_test(an_orphan_is_taken_up),
		cmocka_unit_test(deleted_while_read),
		cmocka_unit_test(pins_extends_attrs),
		cmocka_unit_test(waits_for_space),
		cmocka_unit_test(promises_count),
		cmocka_unit_test(a_reserve_is_real),
		cmocka_unit_test(no_writer_survives_a_commit),
		cmocka_unit_test(a_wrong_clock_expires_nothing),
		cmocka_unit_test(culls_in_order),
		cmocka_unit_test(import_spares_its_own_copy),
		cmocka_unit_test(orphans_go_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
