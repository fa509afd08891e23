/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostinfo.c — see hostinfo.h; proc(5) */
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

enum { F_STAT, F_MEMINFO, F_SELF_STAT, F_SELF_STATM, F_SOCKSTAT, N_FILES };
static const char *const paths[N_FILES] = {
	"/proc/stat", "/proc/meminfo", "/proc/self/stat", "/proc/self/statm", "/proc/net/sockstat"};

struct hostinfo {
	int fds[N_FILES];
	long hz, page;
	uint32_t physical_cpus;
	struct utsname uts;
	char os[128];
	/* of the sample before */
	uint64_t last_ns, last_ticks;
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

int hostinfo_new(struct hostinfo **out)
{
	struct hostinfo *h = calloc(1, sizeof(*h));
	_cleanup_buf_ struct buf b = {0};

	if (!h)
		return -ENOMEM;
	for (int i = 0; i < N_FILES; i++)
		h->fds[i] = open(paths[i], O_RDONLY | O_CLOEXEC);
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

void hostinfo_read(struct hostinfo *h, uint64_t now_ns, struct hostinfo_sample *s)
{
	char b[8192];
	uint64_t ticks, pages;
	double busy, all;

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
				percent((double)(ticks - h->last_ticks) / (double)h->hz,
					(double)(now_ns - h->last_ns) / 1e9);
		h->last_ticks = ticks;
	}
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
