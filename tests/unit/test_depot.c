/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_depot.c — random operations on the index against a simple model, with invented space and
 * time: accounts agree, nothing pinned or leased goes, the order is right, promises are kept. And
 * one failed allocation after the other: no crash, no lie.
 * STORE_MODEL_OPS=N sets the number of operations.
 */
#include "tests/unit/store_fixture.h"
#include "tests/lib/oom.h"

#define N_MODEL 48
#define BLOCK   4096ull

struct model_task {
	bool is_there, pinned;
	unsigned leases;
	uint64_t used_ns, expires_ns, bytes;
	uint8_t print;
	struct task *leased; /* of the depot, while leases > 0 */
};

struct model {
	struct fixture *f;
	struct depot *d;
	struct model_task t[N_MODEL];
	uint64_t rng, files_bytes; /* what the "disk" holds of ours */
	uint64_t n_culled, n_commits, n_refused, n_expired;
};

static uint32_t rng(struct model *m, uint32_t n)
{
	m->rng = m->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((m->rng >> 33) % n);
}

static const char *name_of(unsigned i)
{
	static char s[16];

	snprintf(s, sizeof(s), "t%u", i);
	return s;
}

/* the disk of the model: 1000 blocks of which ours and some others' are used */
static void set_space(struct model *m)
{
	m->f->space = (struct depot_space){.block_size = BLOCK,
		.blocks_total = 1000,
		.blocks_avail = 1000 - m->files_bytes / BLOCK,
		.files_total = 100000,
		.files_avail = 90000};
}

static void forget(struct model *m, unsigned i)
{
	m->files_bytes -= m->t[i].bytes;
	m->t[i] = (struct model_task){0};
	set_space(m);
}

/* a commit whose files are made by hand: the index is what is tested here */
static void commit(struct model *m, unsigned i)
{
	struct record r = {
		.info = {.state = STORE_PARTIAL, .piece_length = 4096, .uid = rng(m, 3)}};
	uint64_t bytes = (1 + rng(m, 120)) * BLOCK, wanted, freed;
	bool pin = rng(m, 6) == 0;
	char message[STORE_MESSAGE_MAX];
	uint8_t print = (uint8_t)rng(m, 2);
	struct store_info info;
	struct partial *p;
	struct task *k;
	enum store_status st;
	int data, ro, rec;

	st = depot_admit(m->d, bytes, pin, r.info.uid, &wanted, message);
	if (st == STORE_NO_SPACE) {
		/* as the culling thread does, until it is enough */
		struct cull_source *s = &m->d->source;
		uint64_t used, last = 0;
		char label[128];

		s->ops->begin(s);
		while (m->f->space.blocks_avail * BLOCK < wanted &&
			s->ops->oldest(s, &used) == CULL_OFFER_READY) {
			unsigned victim;
			uint64_t oldest = UINT64_MAX;

			for (unsigned k2 = 0; k2 < N_MODEL; k2++)
				if (m->t[k2].is_there && !m->t[k2].pinned && !m->t[k2].leases &&
					m->t[k2].used_ns < oldest)
					oldest = m->t[k2].used_ns;
			assert_int_equal(used, oldest);
			assert_true(used >= last);
			last = used;
			assert_int_equal(s->ops->recheck(s), CULL_FREED);
			assert_int_equal(
				s->ops->remove(s, &freed, label, sizeof(label)), CULL_FREED);
			assert_int_equal(sscanf(label, "task t%u", &victim), 1);
			assert_true(m->t[victim].is_there && !m->t[victim].pinned &&
				    !m->t[victim].leases);
			forget(m, victim);
			m->n_culled++;
		}
		s->ops->end(s);
		st = depot_admit(m->d, bytes, pin, r.info.uid, &wanted, message);
		/* refused only when nothing more could go */
		if (st == STORE_NO_SPACE)
			assert_int_equal(s->ops->oldest(s, &used), CULL_OFFER_NONE);
	}
	if (st) {
		m->n_refused++;
		return;
	}
	/* free space stays above cull with the promise */
	assert_true(m->f->space.blocks_avail * BLOCK >= 50 * BLOCK + bytes);
	r.info.created_ns = m->f->wall_ns;
	r.pinned = r.info.pinned = pin;
	r.info.expires_ns = rng(m, 3) ? 0 : m->f->wall_ns + rng(m, 500) * SEC;
	assert_int_equal(layout_create(&m->d->layout, &r, 0, &data, &ro, &rec), 0);
	close(data);
	close(ro);
	assert_int_equal(depot_add_partial(m->d, &r, bytes, &p), 0);
	m->files_bytes += bytes;
	set_space(m);
	depot_settle(m->d, bytes);
	strcpy(r.info.id, name_of(i));
	memset(r.info.fingerprint, print, sizeof(r.info.fingerprint));
	st = depot_commit_begin(m->d, r.info.id, r.info.fingerprint, &k, &info);
	if (m->t[i].is_there) {
		assert_int_equal(
			st, print == m->t[i].print ? STORE_EXISTS_SAME : STORE_EXISTS_DIFFERENT);
		assert_int_equal(depot_drop_partial(m->d, p), 0);
		m->files_bytes -= bytes;
		set_space(m);
	} else {
		uint64_t real;

		assert_int_equal(st, STORE_OK);
		assert_int_equal(layout_commit(&m->d->layout, &r, rec, false, false, &real), 0);
		depot_commit_end(m->d, k, p, &r, bytes);
		m->t[i] = (struct model_task){.is_there = true,
			.pinned = pin,
			.used_ns = m->f->wall_ns,
			.expires_ns = r.info.expires_ns,
			.bytes = bytes,
			.print = print};
		m->n_commits++;
	}
	close(rec);
}

static void use(struct model *m, unsigned i)
{
	struct model_task *t = &m->t[i];
	struct store_info info;
	struct task *k;

	switch (rng(m, 4)) {
	case 0:
		assert_int_equal(depot_touch(m->d, name_of(i)), t->is_there);
		break;
	case 1:
		k = depot_lease(m->d, name_of(i), &info);
		assert_int_equal(k != NULL, t->is_there);
		if (k) {
			t->leased = k;
			t->leases++;
		}
		break;
	default:
		if (!t->leases)
			return;
		depot_unlease(m->d, t->leased, true);
		t->leases--;
	}
	if (t->is_there)
		t->used_ns = m->f->wall_ns;
}

static void change(struct model *m, unsigned i)
{
	struct model_task *t = &m->t[i];
	struct store_info info;
	struct task *k = depot_lease(m->d, name_of(i), &info);

	assert_int_equal(k != NULL, t->is_there);
	if (!k)
		return;
	t->used_ns = m->f->wall_ns;
	if (rng(m, 2)) {
		t->pinned = rng(m, 2);
		depot_set_pinned(m->d, k, t->pinned);
	} else {
		t->expires_ns = rng(m, 2) ? m->f->wall_ns + (1 + rng(m, 100)) * SEC : 0;
		depot_set_expires(m->d, k, t->expires_ns);
	}
	depot_unlease(m->d, k, false);
}

static void pass_time(struct model *m)
{
	uint64_t next, s = rng(m, 20) * SEC / 4;

	m->f->wall_ns += s;
	m->f->mono_ns += s;
	depot_expire(m->d, &next);
	for (unsigned i = 0; i < N_MODEL; i++) {
		struct model_task *t = &m->t[i];

		if (t->is_there && t->expires_ns && t->expires_ns <= m->f->wall_ns) {
			/* leased ones too: who reads keeps the descriptors */
			while (t->leases) {
				depot_unlease(m->d, t->leased, true);
				t->leases--;
			}
			forget(m, i);
			m->n_expired++;
		}
	}
	layout_empty_trash(&m->d->layout, false);
}

static void compare(struct model *m)
{
	uint64_t bytes = 0, pinned = 0, cullable = 0;
	size_t n = 0;

	for (unsigned i = 0; i < N_MODEL; i++) {
		struct model_task *t = &m->t[i];
		struct store_info info;

		assert_int_equal(depot_info(m->d, name_of(i), &info), t->is_there);
		if (!t->is_there)
			continue;
		assert_int_equal(info.pinned, t->pinned);
		assert_int_equal(info.leased, t->leases > 0);
		assert_int_equal(info.used_ns, t->used_ns);
		assert_int_equal(info.expires_ns, t->expires_ns);
		n++;
		bytes += t->bytes;
		pinned += t->pinned ? t->bytes : 0;
		cullable += !t->pinned && !t->leases ? t->bytes : 0;
	}
	assert_true(m->f->space.blocks_avail >= 20); /* stop: 2 % */
	assert_int_equal(m->d->n_tasks, n);
	assert_int_equal(m->d->task_bytes, bytes);
	assert_int_equal(m->d->pinned_bytes, pinned);
	assert_int_equal(m->d->cullable_bytes, cullable);
	assert_int_equal(m->d->promised_bytes, 0);
	assert_int_equal(m->d->n_partials, 0);
	assert_int_equal(m->d->partial_bytes, 0);
}

static void agrees_with_the_model(void **state)
{
	struct fixture *f = fixture_new();
	const char *ops = getenv("STORE_MODEL_OPS");
	unsigned n = ops ? (unsigned)atoi(ops) : 20000;
	struct model m = {.f = f, .rng = 4711};
	char reason[256];

	f->set.limits = (struct limits){.blocks = {8, 5, 2}, .files = {8, 5, 2}};
	f->world = (struct depot_world){.now = fixture_now, .space = fixture_space, .arg = f};
	set_space(&m);
	assert_int_equal(depot_new(&m.d, f->dirfd, &f->set, &f->world, reason), 0);
	for (unsigned i = 0; i < n; i++) {
		unsigned which = rng(&m, N_MODEL);

		f->wall_ns += 1000;
		f->mono_ns += 1000;
		switch (rng(&m, 10)) {
		case 0:
		case 1:
			commit(&m, which);
			break;
		case 2:
			change(&m, which);
			break;
		case 3:
			if (rng(&m, 8))
				break;
			assert_int_equal(depot_remove(m.d, name_of(which), NULL, "test"),
				m.t[which].is_there ? STORE_OK : STORE_NOT_FOUND);
			while (m.t[which].leases) {
				depot_unlease(m.d, m.t[which].leased, true);
				m.t[which].leases--;
			}
			if (m.t[which].is_there)
				forget(&m, which);
			break;
		case 4:
			if (!rng(&m, 10))
				pass_time(&m);
			break;
		default:
			use(&m, which);
		}
		if (i % 64 == 0)
			compare(&m);
	}
	compare(&m);
	print_message("# %u operations: %llu commits, %llu culled, %llu expired, %llu refused\n", n,
		(unsigned long long)m.n_commits, (unsigned long long)m.n_culled,
		(unsigned long long)m.n_expired, (unsigned long long)m.n_refused);
	assert_true(m.n_culled > 0 && m.n_expired > 0 && m.n_refused > 0);
	for (unsigned i = 0; i < N_MODEL; i++)
		while (m.t[i].leases--)
			depot_unlease(m.d, m.t[i].leased, false);
	depot_free(m.d);
	fixture_free(f);
}

/* what a machine that stopped left: a table entry that reached the disk before its data */
static void doubtful_pieces_are_read_again(void **state)
{
	struct fixture *f = fixture_ready();
	struct call *c = malloc(sizeof(*c));
	struct store_create cr = {.length = 12, .piece_length = 4, .uid = getuid(), .id = "p"};
	struct store_piece p[2] = {
		{0, digest_crc32(0, "abcd", 4)}, {2, digest_crc32(0, "ijkl", 4)}};
	uint8_t token[STORE_TOKEN_SIZE];
	char path[256], name[LAYOUT_TOKEN_TEXT];
	struct record *r = malloc(sizeof(*r));
	struct record_piece rp[3];
	uint32_t lease;
	int fd;

	CALL(f, c, store_create, &cr);
	assert_int_equal(c->r.status, STORE_OK);
	memcpy(token, c->r.token, sizeof(token));
	lease = c->r.lease;
	assert_int_equal(pwrite(c->r.data_fd, "abcd", 4, 0), 4); /* piece 2 never arrived */
	call_close(c);
	CALL(f, c, store_pieces, lease, p, 2);
	assert_int_equal(c->r.status, STORE_OK);
	fixture_stop(f);
	layout_token_text(token, name);
	snprintf(path, sizeof(path), "%s/pieces/incoming/%s/meta", f->dir, name);
	fd = open(path, O_RDWR);
	assert_int_equal(record_read(fd, r), 0);
	r->boot[0] ^= 1;
	assert_int_equal(record_write(fd, r), 0);
	close(fd);
	fixture_start(f);
	fixture_connect(f);
	CALL(f, c, store_attach, token);
	assert_int_equal(c->r.status, STORE_OK);
	assert_int_equal(c->r.info.n_present, 1);
	assert_int_equal(record_read(c->r.record_fd, r), 0);
	assert_int_equal(record_read_pieces(c->r.record_fd, r, 0, 3, rp), 0);
	assert_true(rp[0].present && !rp[1].present && !rp[2].present);
	call_close(c);
	free(r);
	free(c);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_model),
		cmocka_unit_test(doubtful_pieces_are_read_again),
	};
	fixture_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
