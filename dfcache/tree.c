/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/path.h"
#include "dfcache/manifest.h"

#define NS       ((uint64_t)1000000000)
#define AT_ONCE  8 /* files that travel at the same time: small ones are all latency */
#define HARDLINK "hardlink"

/* what both directions share: entries of the manifest are handed out to slots until all are done */
struct tree {
	struct session *s;
	struct progress *progress;
	struct manifest m;
	size_t next; /* entry */
	uint64_t end_ns; /* of the time allowed */
	bool is_pumping;
	struct tree_result *result;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static bool has_failed(const struct tree *t)
{
	return t->s->failure.status != EXIT_OK;
}

static uint64_t time_left(struct tree *t)
{
	uint64_t now = now_ns();

	if (now < t->end_ns)
		return t->end_ns - now;
	failure_set(&t->s->failure, EXIT_TIMEOUT, "give it more time with --timeout",
		"the time allowed is over");
	return 0;
}

/* take_failure - the first one of a job, with the file it was about */
static void take_failure(struct tree *t, struct failure *f, const char *path)
{
	if (f->status != EXIT_OK)
		failure_set(&t->s->failure, f->status, f->hint, "%s: %s", path,
			f->message ? f->message : "out of memory");
	failure_fini(f);
}

/* next_file - the next entry that is one; NULL when there is none or something failed */
static struct manifest_entry *next_file(struct tree *t)
{
	while (t->next < t->m.n && !has_failed(t)) {
		struct manifest_entry *e = &t->m.entries[t->next++];

		if (e->kind == MANIFEST_FILE)
			return e;
	}
	return NULL;
}

/* ---- import: collect ----------------------------------------------------------------------- */

struct import_slot {
	struct import_job job;
	struct import_tree *tree;
	struct manifest_entry *entry; /* NULL = free */
	char *path; /* owned */
};

struct import_tree {
	struct tree t;
	const struct import_job *like;
	char **sources; /* by entry: where a file is; owned */
	size_t n_sources;
	struct import_slot slots[AT_ONCE];
	uint64_t bytes_done;
};

static int add_source(struct import_tree *it, const char *path)
{
	char **more = realloc(it->sources, it->t.m.n * sizeof(*more));

	if (!more)
		return -ENOMEM;
	it->sources = more;
	while (it->n_sources < it->t.m.n)
		more[it->n_sources++] = NULL;
	more[it->t.m.n - 1] = strdup(path);
	return more[it->t.m.n - 1] ? 0 : -ENOMEM;
}

static int fail_path(struct import_tree *it, const char *path, int error)
{
	return failure_set(&it->t.s->failure, exit_from_errno(error), NULL, "cannot read %s: %s",
		path, strerror(error));
}

static char *join(const char *dir, const char *name)
{
	char *s = NULL;

	if (!*dir)
		return strdup(name);
	return asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* names_of - what is in a directory, sorted by bytes so that the same tree has the same manifest */
static int names_of(const char *path, char ***out, size_t *n)
{
	_cleanup_dir_ DIR *d = opendir(path);
	char **names = NULL;
	size_t cap = 0;
	struct dirent *e;

	*n = 0;
	if (!d)
		return -errno;
	while ((errno = 0, e = readdir(d))) {
		if (path_is_dots(e->d_name))
			continue;
		if (*n == cap) {
			char **more;

			cap = cap ? cap * 2 : 64;
			more = realloc(names, cap * sizeof(*more));
			if (!more)
				break;
			names = more;
		}
		names[*n] = strdup(e->d_name);
		if (!names[*n])
			break;
		(*n)++;
	}
	*out = names;
	if (e)
		return -ENOMEM;
	if (errno)
		return -errno;
	if (*n)
		qsort(names, *n, sizeof(*names), by_name);
	return 0;
}

static int collect(struct import_tree *it, const char *path, const char *rel, bool is_named);

static int collect_below(struct import_tree *it, const char *path, const char *rel)
{
	char **names = NULL;
	size_t n;
	int r = names_of(path, &names, &n);

	if (r < 0)
		fail_path(it, path, -r);
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *below = join(path, names[i]), *to = join(rel, names[i]);

		if (!has_failed(&it->t) && below && to)
			collect(it, below, to, false);
		else
			failure_set(&it->t.s->failure, EXIT_FAILED, NULL, "out of memory");
		free(names[i]);
	}
	free(names);
	return (int)it->t.s->failure.status;
}

static int collect_link(struct import_tree *it, const char *path, const char *rel)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n <= 0)
		return fail_path(it, path, n < 0 ? errno : EINVAL);
	target[n] = '\0';
	if (!manifest_add(&it->t.m, MANIFEST_LINK, rel, target))
		return failure_set(&it->t.s->failure, EXIT_FAILED, NULL, "out of memory");
	return 0;
}

/* collect - @path becomes the entry @rel, with what is below it. @is_named: by the user, who means what a
 * link leads to, as when it is the only path; below a directory links stay what they are. */
static int collect(struct import_tree *it, const char *path, const char *rel, bool is_named)
{
	struct manifest_entry *e;
	struct stat st;

	if ((is_named ? stat(path, &st) : lstat(path, &st)) < 0)
		return fail_path(it, path, errno);
	if (!manifest_path_is_safe(rel))
		return fail_path(it, path, ENAMETOOLONG);
	if (S_ISLNK(st.st_mode))
		return collect_link(it, path, rel);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return failure_set(&it->t.s->failure, EXIT_INVALID, NULL,
			"%s is neither a file nor a directory nor a link", path);
	e = manifest_add(
		&it->t.m, S_ISDIR(st.st_mode) ? MANIFEST_DIRECTORY : MANIFEST_FILE, rel, NULL);
	if (!e || add_source(it, path) < 0)
		return failure_set(&it->t.s->failure, EXIT_FAILED, NULL,
			"%s: out of memory, or more than %u entries", path, MANIFEST_MAX_ENTRIES);
	e->mode = st.st_mode & 0777;
	if (S_ISDIR(st.st_mode))
		return collect_below(it, path, rel);
	it->t.progress->view.total += (uint64_t)st.st_size;
	it->t.progress->view.files_total++;
	return 0;
}

/* collect_all - one directory alone is the tree; otherwise each path is an entry of it */
static int collect_all(struct import_tree *it, char *const *paths, unsigned n)
{
	struct stat st;

	if (n == 1 && stat(paths[0], &st) == 0 && S_ISDIR(st.st_mode))
		return collect_below(it, paths[0], "");
	for (unsigned i = 0; i < n && !has_failed(&it->t); i++) {
		_cleanup_free_ char *whole = path_absolute(paths[i]);
		const char *name = whole ? strrchr(whole, '/') + 1 : NULL;

		if (!whole || !*name)
			return fail_path(it, paths[i], EINVAL);
		for (size_t k = 0; k < it->t.m.n; k++)
			if (!strcmp(it->t.m.entries[k].path, name))
				return failure_set(&it->t.s->failure, EXIT_INVALID,
					"import their directory instead",
					"two of the paths have the same last component \"%s\"",
					name);
		collect(it, whole, name, true);
	}
	return (int)it->t.s->failure.status;
}

/* ---- import: the files, then the manifest -------------------------------------------------- */

static void import_pump(struct import_tree *it);

static void on_imported(struct import_job *j)
{
	struct import_slot *slot = j->owner;
	struct import_tree *it = slot->tree;

	if (j->failure.status == EXIT_OK && strlen(j->id) > MANIFEST_ID_MAX)
		failure_set(&j->failure, EXIT_FAILED, NULL, "the task id is too long");
	if (j->failure.status == EXIT_OK) {
		strcpy(slot->entry->id, j->id);
		slot->entry->bytes = j->length;
		it->bytes_done += j->length;
		it->t.result->bytes += j->length;
		it->t.result->n_files++;
		it->t.progress->view.files_done++;
	}
	take_failure(&it->t, &j->failure, slot->path);
	free(slot->path);
	slot->path = NULL;
	slot->entry = NULL;
	if (has_failed(&it->t)) {
		for (size_t i = 0; i < AT_ONCE; i++)
			if (it->slots[i].entry)
				call_cancel(&it->slots[i].job.call);
	} else {
		import_pump(it);
	}
}

static void import_into_slot(
	struct import_tree *it, struct import_slot *slot, struct manifest_entry *e)
{
	const char *source = it->sources[e - it->t.m.entries];

	slot->tree = it;
	slot->job = *it->like;
	slot->job.content_for_id = NULL; /* that is the manifest's */
	slot->job.timeout_ns = time_left(&it->t);
	slot->job.done = on_imported;
	slot->job.owner = slot;
	slot->path = path_absolute(source);
	slot->job.path = slot->path;
	slot->job.fd = slot->path ? regfile_open(AT_FDCWD, source) : -ENOMEM;
	if (slot->job.fd < 0 || has_failed(&it->t)) {
		if (slot->job.fd < 0)
			fail_path(it, source, -slot->job.fd);
		fd_close(slot->job.fd);
		free(slot->path);
		slot->path = NULL;
		return;
	}
	slot->entry = e;
	import_start(it->t.s->client, &slot->job);
}

static void import_pump(struct import_tree *it)
{
	/* a job may fail before import_start() returns, and come back here */
	if (it->t.is_pumping)
		return;
	it->t.is_pumping = true;
	for (size_t i = 0; i < AT_ONCE; i++) {
		while (!it->slots[i].entry) {
			struct manifest_entry *e = next_file(&it->t);

			if (!e)
				break;
			import_into_slot(it, &it->slots[i], e);
		}
	}
	it->t.is_pumping = false;
}

static void import_tick(void *arg)
{
	struct import_tree *it = arg;
	uint64_t done = it->bytes_done;

	for (size_t i = 0; i < AT_ONCE; i++) {
		off_t at = it->slots[i].entry ? lseek(it->slots[i].job.fd, 0, SEEK_CUR) : -1;

		if (at > 0)
			done += (uint64_t)at;
	}
	it->t.progress->view.done = done;
	progress_draw(it->t.progress);
}

static void on_manifest(struct import_job *j)
{
	struct tree *t = j->owner;

	take_failure(t, &j->failure, "the manifest");
}

/* import_manifest - its text in memory, named by a path that other daemons can open too */
static int import_manifest(struct import_tree *it, struct import_job *job)
{
	_cleanup_buf_ struct buf text = {0};
	char path[64];
	int r;

	manifest_encode(&it->t.m, &text);
	if (!buf_ok(&text) || text.len > MANIFEST_MAX_BYTES)
		return failure_set(&it->t.s->failure, EXIT_INVALID, "import it in parts",
			"the manifest is longer than %u bytes", MANIFEST_MAX_BYTES);
	job->fd = memfd_create("manifest", MFD_CLOEXEC);
	r = job->fd < 0 ? -errno : fd_write_full(job->fd, text.data, text.len);
	if (r == 0 && lseek(job->fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0) {
		job->fd = fd_close(job->fd);
		return failure_set(&it->t.s->failure, exit_from_errno(-r), NULL,
			"cannot make the manifest: %s", strerror(-r));
	}
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), job->fd);
	job->path = path;
	job->timeout_ns = time_left(&it->t);
	job->done = on_manifest;
	job->owner = &it->t;
	if (has_failed(&it->t))
		job->fd = fd_close(job->fd);
	else
		import_start(it->t.s->client, job);
	client_run(it->t.s->client, NULL, NULL);
	job->path = NULL;
	return (int)it->t.s->failure.status;
}

/* say_what_is_there - an import that failed leaves what it had done */
static void say_what_is_there(struct failure *f, uint64_t n_files)
{
	char *hint;

	if (!n_files ||
		asprintf(&hint,
			"%s%s%" PRIu64 " files are imported and stay until their ttl is over; "
			"another attempt finds them there",
			f->hint ? f->hint : "", f->hint ? "; " : "", n_files) < 0)
		return;
	free(f->hint);
	f->hint = hint;
}

int tree_import(struct session *s, char *const *paths, unsigned n_paths, struct import_job *like,
	struct progress *p, struct tree_result *result)
{
	struct import_tree *it = calloc(1, sizeof(*it));
	uint64_t timeout = like->timeout_ns;
	int r;

	if (!it)
		return failure_set(&s->failure, EXIT_FAILED, NULL, "out of memory");
	it->t = (struct tree){
		.s = s, .progress = p, .end_ns = now_ns() + timeout, .result = result};
	it->like = like;
	r = collect_all(it, paths, n_paths);
	if (r == 0 && !it->t.m.n)
		r = failure_set(&s->failure, EXIT_INVALID, NULL, "%s is empty", paths[0]);
	if (r == 0) {
		import_pump(it);
		client_run(s->client, p->is_on ? import_tick : NULL, it);
		r = (int)s->failure.status;
	}
	if (r == 0)
		r = import_manifest(it, like);
	if (r != 0)
		say_what_is_there(&s->failure, result->n_files);
	like->timeout_ns = timeout;
	for (size_t i = 0; i < it->n_sources; i++)
		free(it->sources[i]);
	free(it->sources);
	manifest_fini(&it->t.m);
	free(it);
	return r;
}

/* ---- export -------------------------------------------------------------------------------- */

struct export_slot {
	struct export_job job;
	struct export_tree *tree;
	struct manifest_entry *entry;
	char *path;
};

struct export_tree {
	struct tree t;
	const struct export_job *like;
	char *temp; /* the hidden directory that becomes the output */
	mode_t mask;
	struct export_slot slots[AT_ONCE];
};

static void on_manifest_here(struct export_job *j)
{
	struct tree *t = j->owner;

	take_failure(t, &j->failure, "the manifest");
}

static int fetch_manifest(struct export_tree *et)
{
	_cleanup_fd_ int fd = memfd_create("manifest", MFD_CLOEXEC);
	_cleanup_buf_ struct buf text = {0};
	struct failure *f = &et->t.s->failure;
	struct export_job job = *et->like;
	uint8_t *p;
	char why[160];
	int r;

	if (fd < 0)
		return failure_set(
			f, EXIT_FAILED, NULL, "cannot hold the manifest: %s", strerror(errno));
	job.mode = EXPORT_CONTENT;
	job.is_sink = true;
	job.sink = fd;
	job.progress = NULL;
	job.done = on_manifest_here;
	job.owner = &et->t;
	job.timeout_ns = time_left(&et->t);
	if (!has_failed(&et->t))
		export_start(et->t.s->client, &job);
	client_run(et->t.s->client, NULL, NULL);
	if (has_failed(&et->t))
		return (int)f->status;
	if (job.length > MANIFEST_MAX_BYTES)
		return failure_set(f, EXIT_INVALID, "export it without --recursive",
			"task %s is no manifest: it is too large", job.id);
	p = buf_reserve(&text, job.length);
	if (!p || fd_pread_full(fd, p, job.length, 0) != (ssize_t)job.length)
		return failure_set(f, EXIT_FAILED, NULL, "cannot read the manifest back");
	r = manifest_parse(&et->t.m, (const char *)p, job.length, why);
	if (r == -ENOMEM)
		return failure_set(f, EXIT_FAILED, NULL, "out of memory");
	if (r < 0)
		return failure_set(f, EXIT_INVALID,
			"export it without --recursive, or import with it",
			"task %s is no manifest: %s", job.id, why);
	return 0;
}

static int fail_make(struct export_tree *et, const char *path, int error)
{
	return failure_set(&et->t.s->failure, exit_from_errno(error), NULL, "cannot make %s: %s",
		path, strerror(error));
}

/* make_temp - beside the output, so that a rename is enough in the end */
static int make_temp(struct export_tree *et)
{
	const char *output = et->like->output, *slash = strrchr(output, '/');
	uint64_t v;

	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v) ||
		asprintf(&et->temp, "%.*s/.%.200s.%012llx", (int)(slash - output), output,
			slash + 1, (unsigned long long)(v & 0xffffffffffffULL)) < 0) {
		et->temp = NULL;
		return failure_set(&et->t.s->failure, EXIT_FAILED, NULL, "out of memory");
	}
	if (mkdir(et->temp, 0700) < 0) {
		int e = errno;

		free(et->temp);
		et->temp = NULL;
		return fail_make(et, output, e);
	}
	return 0;
}

/* make_frame - directories and links; the files come next */
static int make_frame(struct export_tree *et)
{
	for (size_t i = 0; i < et->t.m.n; i++) {
		const struct manifest_entry *e = &et->t.m.entries[i];
		_cleanup_free_ char *path = join(et->temp, e->path);

		if (!path)
			return failure_set(&et->t.s->failure, EXIT_FAILED, NULL, "out of memory");
		if (e->kind == MANIFEST_FILE) {
			et->t.progress->view.files_total++;
			continue;
		}
		if (e->kind == MANIFEST_DIRECTORY ? mkdir(path, 0700) < 0
						  : symlink(e->target, path) < 0)
			return fail_make(et, e->path, errno);
	}
	return 0;
}

static void export_pump(struct export_tree *et);

static void on_exported(struct export_job *j)
{
	struct export_slot *slot = j->owner;
	struct export_tree *et = slot->tree;

	if (j->failure.status == EXIT_OK && j->length != slot->entry->bytes)
		failure_set(&j->failure, EXIT_CORRUPT, NULL,
			"the task has another length than the manifest says");
	/* a hard link has the cache's mode, and must keep it */
	if (j->failure.status == EXIT_OK && strcmp(j->placed, HARDLINK) != 0 &&
		chmod(slot->path, slot->entry->mode & ~et->mask) < 0)
		failure_set(&j->failure, exit_from_errno(errno), NULL, "cannot set its mode: %s",
			strerror(errno));
	if (j->failure.status == EXIT_OK) {
		et->t.result->bytes += j->length;
		et->t.result->n_files++;
		et->t.progress->view.files_done++;
	}
	take_failure(&et->t, &j->failure, slot->entry->path);
	free(slot->path);
	slot->path = NULL;
	slot->entry = NULL;
	if (has_failed(&et->t)) {
		for (size_t i = 0; i < AT_ONCE; i++)
			if (et->slots[i].entry)
				call_cancel(&et->slots[i].job.call);
	} else {
		export_pump(et);
	}
}

static void export_into_slot(
	struct export_tree *et, struct export_slot *slot, struct manifest_entry *e)
{
	slot->path = join(et->temp, e->path);
	slot->tree = et;
	slot->job = *et->like;
	slot->job.id = e->id;
	slot->job.output = slot->path;
	slot->job.overwrite = false;
	slot->job.progress = et->t.progress;
	slot->job.timeout_ns = time_left(&et->t);
	slot->job.done = on_exported;
	slot->job.owner = slot;
	if (!slot->path || has_failed(&et->t)) {
		failure_set(&et->t.s->failure, EXIT_FAILED, NULL, "out of memory");
		free(slot->path);
		slot->path = NULL;
		return;
	}
	slot->entry = e;
	export_start(et->t.s->client, &slot->job);
}

static void export_pump(struct export_tree *et)
{
	if (et->t.is_pumping)
		return;
	et->t.is_pumping = true;
	for (size_t i = 0; i < AT_ONCE; i++) {
		while (!et->slots[i].entry) {
			struct manifest_entry *e = next_file(&et->t);

			if (!e)
				break;
			export_into_slot(et, &et->slots[i], e);
		}
	}
	et->t.is_pumping = false;
}

static void export_tick(void *arg)
{
	progress_draw(arg);
}

/* finish_directories - their modes, the inner ones first: an outer one may forbid to go in */
static int finish_directories(struct export_tree *et)
{
	for (size_t i = et->t.m.n; i-- > 0;) {
		const struct manifest_entry *e = &et->t.m.entries[i];
		_cleanup_free_ char *path = join(et->temp, e->path);

		if (!path)
			return failure_set(&et->t.s->failure, EXIT_FAILED, NULL, "out of memory");
		if (e->kind == MANIFEST_DIRECTORY && chmod(path, e->mode & ~et->mask) < 0)
			return fail_make(et, e->path, errno);
	}
	if (chmod(et->temp, 0777 & ~et->mask) < 0)
		return fail_make(et, et->like->output, errno);
	return 0;
}

/* appear - the whole tree gets its name in one step; what was there with --overwrite goes after */
static int appear(struct export_tree *et)
{
	const char *output = et->like->output;

	if (renameat2(AT_FDCWD, et->temp, AT_FDCWD, output, RENAME_NOREPLACE) == 0) {
		free(et->temp);
		et->temp = NULL;
		return 0;
	}
	if (errno == EEXIST && et->like->overwrite) {
		/* then the temporary name is that of the old tree, which is removed below */
		if (renameat2(AT_FDCWD, et->temp, AT_FDCWD, output, RENAME_EXCHANGE) == 0)
			return 0;
	} else if ((errno == EINVAL || errno == ENOSYS) && access(output, F_OK) < 0 &&
		   rename(et->temp, output) == 0) {
		free(et->temp);
		et->temp = NULL;
		return 0;
	}
	return fail_make(et, output, errno);
}

static int make_removable(const char *path, const struct stat *st, int type, struct FTW *at)
{
	if (type == FTW_D || type == FTW_DNR)
		(void)chmod(path, 0700); /* what stays is told by the second attempt */
	return 0;
}

static void remove_temp(const char *temp)
{
	const char *slash = strrchr(temp, '/');
	_cleanup_free_ char *parent = strndup(temp, (size_t)(slash - temp) + 1);
	_cleanup_fd_ int dirfd = -1;

	if (parent)
		dirfd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0 && path_remove_tree(dirfd, slash + 1, NULL) == 0)
		return;
	/* a directory of the tree that its owner may not write either */
	(void)nftw(temp, make_removable, 16, FTW_PHYS | FTW_MOUNT);
	if (dirfd < 0 || path_remove_tree(dirfd, slash + 1, NULL) < 0)
		report_warning("%s could not be removed", temp);
}

int tree_export(struct session *s, const struct export_job *like, struct progress *p,
	struct tree_result *result)
{
	struct export_tree *et = calloc(1, sizeof(*et));
	int r;

	if (!et)
		return failure_set(&s->failure, EXIT_FAILED, NULL, "out of memory");
	et->t = (struct tree){
		.s = s, .progress = p, .end_ns = now_ns() + like->timeout_ns, .result = result};
	et->like = like;
	et->mask = umask(022);
	umask(et->mask);
	r = fetch_manifest(et);
	if (r == 0)
		r = make_temp(et);
	if (r == 0)
		r = make_frame(et);
	if (r == 0) {
		export_pump(et);
		client_run(s->client, p->is_on ? export_tick : NULL, p);
		r = (int)s->failure.status;
	}
	if (r == 0)
		r = finish_directories(et);
	if (r == 0)
		r = appear(et);
	if (et->temp)
		remove_temp(et->temp);
	free(et->temp);
	manifest_fini(&et->t.m);
	free(et);
	return r;
}
