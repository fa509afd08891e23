/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostinfo.c — see hostinfo.h; proc(5), cgroup-v2 of the kernel's admin guide */
#include "p2p/hostinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"

enum {
	F_STAT,
	F_MEMINFO,
	F_SELF_STAT,
	F_SELF_STATM,
	F_SOCKSTAT,
	F_SELF_IO,
	F_CPU_MAX,
	F_CPU_STAT,
	F_MEM_MAX,
	F_MEM_CURRENT,
	F_IO_STAT,
	N_FILES
};
static const char *const paths[N_FILES] = {"/proc/stat", "/proc/meminfo", "/proc/self/stat",
	"/proc/self/statm", "/proc/net/sockstat", "/proc/self/io",
	/* of the control group */
	"cpu.max", "cpu.stat", "memory.max", "memory.current", "io.stat"};

struct hostinfo {
	int fds[N_FILES];
	long hz, page;
	uint32_t physical_cpus;
	struct utsname uts;
	char os[128];
	/* of the sample before */
	uint64_t last_ns, last_ticks, last_usage_us;
	uint64_t last_io[2], last_group_io[2]; /* read, written */
	double last_busy, last_all;
};

bool hostinfo_parse_stat(const char *text, long hz, struct hostinfo_cpu *out)
{
	double *const v[] = {&out->user, &out->nice, &out->system, &out->idle, &out->iowait,
		&out->irq, &out->softirq, &out->steal, &out->guest, &out->guest_nice};
	size_t n = 0;

	memset(out, 0, sizeof(*out));
	if (strncmp(text, "cpu ", 4))
		return false;
	text += 4;
	for (char *end; n < ARRAY_SIZE(v); n++, text = end) {
		while (*text == ' ')
			text++;
		if (*text < '0' || *text > '9')
			break;
		*v[n] = (double)strtoull(text, &end, 10) / (double)hz;
	}
	return n >= 4;
}

static bool kilobytes(const char *text, const char *key, uint64_t *out)
{
	const char *p = text;
	size_t len = strlen(key);

	while (p && strncmp(p, key, len)) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (!p)
		return false;
	*out = strtoull(p + len, NULL, 10) * 1024;
	return true;
}

bool hostinfo_parse_meminfo(const char *text, uint64_t *total, uint64_t *available, uint64_t *free_)
{
	return kilobytes(text, "MemTotal:", total) && kilobytes(text, "MemFree:", free_) &&
	       kilobytes(text, "MemAvailable:", available);
}

bool hostinfo_parse_self_stat(const char *text, uint64_t *ticks)
{
	/* the name in parentheses may contain anything, so from the last one on */
	const char *p = strrchr(text, ')');
	uint64_t utime, stime;

	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
			  &utime, &stime) != 2)
		return false;
	*ticks = utime + stime;
	return true;
}

bool hostinfo_parse_sockstat(const char *text, uint32_t *tcp_inuse)
{
	const char *p = strstr(text, "TCP: inuse ");

	return p && sscanf(p, "TCP: inuse %" SCNu32, tcp_inuse) == 1;
}

/* the number after @key at the beginning of a line */
static bool number_of(const char *text, const char *key, uint64_t *out)
{
	const char *p = text;
	size_t len = strlen(key);

	while (p && strncmp(p, key, len)) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	return p && sscanf(p + len, "%" SCNu64, out) == 1;
}

bool hostinfo_parse_io(const char *text, uint64_t *read, uint64_t *written)
{
	return number_of(text, "read_bytes: ", read) && number_of(text, "write_bytes: ", written);
}

bool hostinfo_parse_cpu_max(const char *text, int64_t *quota_us, uint64_t *period_us)
{
	if (sscanf(text, "max %" SCNu64, period_us) == 1) {
		*quota_us = -1;
		return true;
	}
	return sscanf(text, "%" SCNd64 " %" SCNu64, quota_us, period_us) == 2 && *quota_us > 0 &&
	       *period_us > 0;
}

bool hostinfo_parse_cpu_stat(const char *text, uint64_t *usage_us)
{
	return number_of(text, "usage_usec ", usage_us);
}

bool hostinfo_parse_io_stat(const char *text, uint64_t *read, uint64_t *written)
{
	uint64_t n;
	bool is_any = false;

	*read = *written = 0;
	for (const char *p = text; (p = strstr(p, "bytes=")); p += 6) {
		if (p == text || sscanf(p + 6, "%" SCNu64, &n) != 1)
			continue;
		*(p[-1] == 'r' ? read : written) += p[-1] == 'r' || p[-1] == 'w' ? n : 0;
		is_any = true;
	}
	return is_any;
}

uint32_t hostinfo_parse_cores(const char *text)
{
	enum { MAX = 4096 };
	_cleanup_free_ uint64_t *seen = calloc(MAX, sizeof(*seen));
	uint64_t package = 0, core;
	uint32_t n = 0;

	for (const char *p = text; seen && p && n < MAX; p = strchr(p, '\n')) {
		uint32_t i = 0;
		int id;

		p += *p == '\n';
		if (!*p)
			break;
		if (sscanf(p, "physical id : %d", &id) == 1)
			package = (uint64_t)id + 1;
		if (sscanf(p, "core id : %d", &id) != 1)
			continue;
		core = package << 32 | (uint32_t)id;
		while (i < n && seen[i] != core)
			i++;
		if (i == n)
			seen[n++] = core;
	}
	return n;
}

static void read_os(struct hostinfo *h)
{
	_cleanup_buf_ struct buf b = {0};
	const char *p, *end;

	snprintf(h->os, sizeof(h->os), "%s", h->uts.version);
	if (fd_read_file(AT_FDCWD, "/etc/os-release", 65536, &b) || !b.data)
		return;
	p = strstr(buf_str(&b), "PRETTY_NAME=\"");
	end = p ? strchr(p + 13, '"') : NULL;
	if (end)
		snprintf(h->os, sizeof(h->os), "%.*s", (int)(end - p - 13), p + 13);
}

/* the group's files; without version 2, or in the root group, some or all are not there */
static void open_cgroup(struct hostinfo *h)
{
	_cleanup_buf_ struct buf b = {0};
	_cleanup_fd_ int dir = -1;
	char path[4096];
	const char *p;

	if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &b) || !b.data)
		return;
	p = strstr(buf_str(&b), "0::/");
	if (!p || snprintf(path, sizeof(path), "/sys/fs/cgroup/%.*s", (int)strcspn(p + 4, "\n"),
			  p + 4) >= (int)sizeof(path))
		return;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = F_CPU_MAX; dir >= 0 && i < N_FILES; i++)
		h->fds[i] = openat(dir, paths[i], O_RDONLY | O_CLOEXEC);
}

int hostinfo_new(struct hostinfo **out)
{
	struct hostinfo *h = calloc(1, sizeof(*h));
	_cleanup_buf_ struct buf b = {0};

	if (!h)
		return -ENOMEM;
	for (int i = 0; i < N_FILES; i++)
		h->fds[i] = i < F_CPU_MAX ? open(paths[i], O_RDONLY | O_CLOEXEC) : -1;
	open_cgroup(h);
	h->hz = sysconf(_SC_CLK_TCK);
	h->page = sysconf(_SC_PAGESIZE);
	uname(&h->uts);
	read_os(h);
	if (!fd_read_file(AT_FDCWD, "/proc/cpuinfo", 8 << 20, &b))
		h->physical_cpus = hostinfo_parse_cores(buf_str(&b));
	*out = h;
	return 0;
}

struct hostinfo *hostinfo_free(struct hostinfo *h)
{
	if (!h)
		return NULL;
	for (int i = 0; i < N_FILES; i++)
		fd_close(h->fds[i]);
	free(h);
	return NULL;
}

/* the first bytes of a file of /proc, which is made anew at offset 0 */
static const char *slurp(const struct hostinfo *h, int file, char *b, size_t size)
{
	ssize_t n = h->fds[file] < 0 ? -1 : pread(h->fds[file], b, size - 1, 0);

	b[n > 0 ? n : 0] = 0;
	return b;
}

static double percent(double part, double whole)
{
	double p = whole > 0 ? 100 * part / whole : 0;

	return p < 0 ? 0 : p;
}

static uint64_t rate(uint64_t now, uint64_t before, double seconds)
{
	return now >= before && seconds > 0 ? (uint64_t)((double)(now - before) / seconds) : 0;
}

/* @seconds since the sample before; 0: there was none */
static void read_cgroup(struct hostinfo *h, struct hostinfo_sample *s, double seconds)
{
	struct hostinfo_cgroup *g = &s->cgroup;
	char b[8192];
	uint64_t usage, io[2], limit;
	double processors = s->logical_cpus;

	if (hostinfo_parse_cpu_max(
		    slurp(h, F_CPU_MAX, b, sizeof(b)), &g->cpu_quota_us, &g->cpu_period_us) &&
		hostinfo_parse_cpu_stat(slurp(h, F_CPU_STAT, b, sizeof(b)), &usage)) {
		g->has_cpu = true;
		if (g->cpu_quota_us > 0)
			processors = (double)g->cpu_quota_us / (double)g->cpu_period_us;
		if (seconds > 0 && usage >= h->last_usage_us)
			g->cpu_percent = percent(
				(double)(usage - h->last_usage_us) / 1e6, seconds * processors);
		h->last_usage_us = usage;
	}
	if (sscanf(slurp(h, F_MEM_CURRENT, b, sizeof(b)), "%" SCNu64, &g->memory_usage) == 1) {
		g->has_memory = true;
		g->memory_limit = -1;
		if (sscanf(slurp(h, F_MEM_MAX, b, sizeof(b)), "%" SCNu64, &limit) == 1)
			g->memory_limit = (int64_t)limit;
	}
	if (hostinfo_parse_io_stat(slurp(h, F_IO_STAT, b, sizeof(b)), &io[0], &io[1])) {
		g->has_io = true;
		g->read_bandwidth = rate(io[0], h->last_group_io[0], seconds);
		g->write_bandwidth = rate(io[1], h->last_group_io[1], seconds);
		memcpy(h->last_group_io, io, sizeof(io));
	}
}

void hostinfo_read(struct hostinfo *h, uint64_t now_ns, struct hostinfo_sample *s)
{
	char b[8192];
	uint64_t ticks, pages, io[2];
	double busy, all, seconds = h->last_ns ? (double)(now_ns - h->last_ns) / 1e9 : 0;

	memset(s, 0, sizeof(*s));
	s->logical_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	s->physical_cpus = h->physical_cpus ? h->physical_cpus : s->logical_cpus;
	if (hostinfo_parse_stat(slurp(h, F_STAT, b, sizeof(b)), h->hz, &s->cpu)) {
		/* guest time is counted in user and nice already */
		all = s->cpu.user + s->cpu.nice + s->cpu.system + s->cpu.idle + s->cpu.iowait +
		      s->cpu.irq + s->cpu.softirq + s->cpu.steal;
		busy = all - s->cpu.idle - s->cpu.iowait;
		if (h->last_ns)
			s->cpu_percent = percent(busy - h->last_busy, all - h->last_all);
		h->last_busy = busy;
		h->last_all = all;
	}
	if (hostinfo_parse_self_stat(slurp(h, F_SELF_STAT, b, sizeof(b)), &ticks)) {
		if (h->last_ns)
			s->process_cpu_percent =
				percent((double)(ticks - h->last_ticks) / (double)h->hz, seconds);
		h->last_ticks = ticks;
	}
	if (hostinfo_parse_io(slurp(h, F_SELF_IO, b, sizeof(b)), &io[0], &io[1])) {
		s->read_bandwidth = rate(io[0], h->last_io[0], seconds);
		s->write_bandwidth = rate(io[1], h->last_io[1], seconds);
		memcpy(h->last_io, io, sizeof(io));
	}
	read_cgroup(h, s, seconds);
	h->last_ns = now_ns;
	(void)hostinfo_parse_meminfo(
		slurp(h, F_MEMINFO, b, sizeof(b)), &s->mem_total, &s->mem_available, &s->mem_free);
	if (sscanf(slurp(h, F_SELF_STATM, b, sizeof(b)), "%*u %" SCNu64, &pages) == 1)
		s->process_rss = pages * (uint64_t)h->page;
	(void)hostinfo_parse_sockstat(slurp(h, F_SOCKSTAT, b, sizeof(b)), &s->tcp_connections);
}

const char *hostinfo_os_version(const struct hostinfo *h)
{
	return h->os;
}

const char *hostinfo_kernel(const struct hostinfo *h)
{
	return h->uts.release;
}
