/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostinfo.h — figures of this host and process from /proc, through descriptors that stay open (a
 * confined daemon cannot open them later). Parsers are pure.
 */
#ifndef P2P_HOSTINFO_H
#define P2P_HOSTINFO_H

#include <stdbool.h>
#include <stdint.h>

struct hostinfo;

struct hostinfo_cpu { /* seconds since boot, as /proc/stat counts them */
	double user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice;
};
struct hostinfo_cgroup { /* of the control group (version 2) that we are in; what is not there is 0 */
	bool has_cpu, has_memory, has_io;
	uint64_t cpu_period_us;
	int64_t cpu_quota_us; /* -1: none */
	double cpu_percent; /* of the quota, or of all processors */
	int64_t memory_limit; /* bytes; -1: none */
	uint64_t memory_usage;
	uint64_t read_bandwidth, write_bandwidth; /* bytes per second */
};
struct hostinfo_sample {
	uint32_t logical_cpus, physical_cpus;
	double cpu_percent, process_cpu_percent; /* since the sample before; 0 the first time */
	struct hostinfo_cpu cpu;
	uint64_t mem_total, mem_available, mem_free, process_rss; /* bytes */
	uint32_t tcp_connections; /* in use in this network namespace */
	uint64_t read_bandwidth,
		write_bandwidth; /* of this process at the disk, bytes per second */
	struct hostinfo_cgroup cgroup;
};

int hostinfo_new(struct hostinfo **out); /* 0 or -errno */
struct hostinfo *hostinfo_free(struct hostinfo *h); /* returns NULL */
/* hostinfo_read - figures that cannot be read are 0 */
void hostinfo_read(struct hostinfo *h, uint64_t now_ns, struct hostinfo_sample *out);
/* os and kernel: fixed since the start; valid until hostinfo_free() */
const char *hostinfo_os_version(const struct hostinfo *h); /* "Debian GNU/Linux 12 (bookworm)" */
const char *hostinfo_kernel(const struct hostinfo *h); /* "6.1.0-18-amd64" */

/* the parsers: @text NUL-terminated; false when the line is not there or malformed */
bool hostinfo_parse_stat(const char *text, long hz, struct hostinfo_cpu *out);
bool hostinfo_parse_meminfo(
	const char *text, uint64_t *total, uint64_t *available, uint64_t *free_);
bool hostinfo_parse_self_stat(const char *text, uint64_t *ticks);
bool hostinfo_parse_sockstat(const char *text, uint32_t *tcp_inuse);
bool hostinfo_parse_io(const char *text, uint64_t *read, uint64_t *written); /* /proc/self/io */
bool hostinfo_parse_cpu_max(const char *text, int64_t *quota_us, uint64_t *period_us);
bool hostinfo_parse_cpu_stat(const char *text, uint64_t *usage_us);
bool hostinfo_parse_io_stat(const char *text, uint64_t *read, uint64_t *written); /* all devices */
uint32_t hostinfo_parse_cores(const char *cpuinfo); /* distinct cores; 0 = not told */

#endif
