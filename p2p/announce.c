/* SPDX-License-Identifier: GPL-2.0-or-later */
/* announce.c — the host report; see announce.h */
#include "p2p/announce.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/netif.h"
#include "common/rpc/pbc.h"
#include "p2p/api/convert.h"
#include "p2p/api/methods.h"
#include "p2p/api/scheduler.pb-c.h"
#include "p2p/hostinfo.h"
#include "p2p/sched.h"

#define SEC UINT64_C(1000000000)

enum { SOON_MS = 100, LOAD_SEC = 1 };

struct announce {
	struct loop *loop;
	struct sched *sched;
	struct loop_op timer;
	uint64_t timer_at_ns, interval_ns, next_ns;
	struct hostinfo *host;
	struct netif *netif; /* NULL: not available, then the load is unknown */
	int ifindex;
	char *host_id, *hostname, *ip, *name, *idc, *location;
	uint16_t port;
	bool disable_shared, closing, is_stopped;
	uint64_t cluster_id, max_tx, max_rx;
	uint64_t disk_total, disk_free, told_free;
	/* the load */
	struct netif_load last;
	uint64_t last_ns;
	struct announce_load load;
};

static int dup_to(char **to, const char *s)
{
	free(*to);
	*to = s ? strdup(s) : NULL;
	return s && !*to ? -ENOMEM : 0;
}

static void announce_end(struct announce *a)
{
	hostinfo_free(a->host);
	netif_free(a->netif);
	free(a->host_id);
	free(a->hostname);
	free(a->ip);
	free(a->name);
	free(a->idc);
	free(a->location);
	free(a);
}

/* ---- load -------------------------------------------------------------------------------- */

static void find_interface(struct announce *a)
{
	struct sockaddr_storage sa = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&sa;

	a->ifindex = 0;
	a->last_ns = 0;
	if (!a->netif || !a->ip)
		return;
	if (inet_pton(AF_INET, a->ip, &v4->sin_addr) == 1)
		sa.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, a->ip, &v6->sin6_addr) == 1)
		sa.ss_family = AF_INET6;
	else
		return;
	a->ifindex = netif_index_of(a->netif, (struct sockaddr *)&sa);
}

static void measure(struct announce *a)
{
	uint64_t now = loop_now(a->loop);
	struct netif_load l;

	if (a->last_ns && now < a->last_ns + LOAD_SEC * SEC)
		return;
	if (a->ifindex <= 0 || netif_read(a->netif, a->ifindex, &l)) {
		a->load = (struct announce_load){
			.max_rx_bandwidth = a->max_rx, .max_tx_bandwidth = a->max_tx};
		find_interface(a); /* the address may have moved */
		return;
	}
	if (a->last_ns && l.rx_bytes >= a->last.rx_bytes && l.tx_bytes >= a->last.tx_bytes) {
		double s = (double)(now - a->last_ns) / 1e9;

		a->load.rx_bandwidth = (uint64_t)((double)(l.rx_bytes - a->last.rx_bytes) * 8 / s);
		a->load.tx_bandwidth = (uint64_t)((double)(l.tx_bytes - a->last.tx_bytes) * 8 / s);
	}
	a->load.max_rx_bandwidth = a->max_rx ? a->max_rx : l.speed;
	a->load.max_tx_bandwidth = a->max_tx ? a->max_tx : l.speed;
	a->last = l;
	a->last_ns = now;
}

struct announce_load announce_get_load(const struct announce *a)
{
	measure((struct announce *)a);
	return a->load;
}

/* ---- the report -------------------------------------------------------------------------- */

struct report {
	Scheduler__V2__AnnounceHostRequest m;
	Common__V2__Host host;
	Common__V2__CPU cpu;
	Common__V2__CPUTimes times;
	Common__V2__Memory memory;
	Common__V2__Network network;
	Common__V2__Disk disk;
	Common__V2__CgroupCPU group_cpu;
	Common__V2__CgroupMemory group_memory;
	Common__V2__CgroupDisk group_disk;
	Common__V2__Build build;
	Google__Protobuf__Duration interval;
};

static double share(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void set_cpu(struct report *r, const struct hostinfo_sample *s)
{
	common__v2__cpu__init(&r->cpu);
	common__v2__cputimes__init(&r->times);
	r->cpu.logical_count = s->logical_cpus;
	r->cpu.physical_count = s->physical_cpus;
	r->cpu.percent = s->cpu_percent;
	r->cpu.process_percent = s->process_cpu_percent;
	r->times.user = s->cpu.user;
	r->times.nice = s->cpu.nice;
	r->times.system = s->cpu.system;
	r->times.idle = s->cpu.idle;
	r->times.iowait = s->cpu.iowait;
	r->times.irq = s->cpu.irq;
	r->times.softirq = s->cpu.softirq;
	r->times.steal = s->cpu.steal;
	r->times.guest = s->cpu.guest;
	r->times.guest_nice = s->cpu.guest_nice;
	r->cpu.times = &r->times;
	r->host.cpu = &r->cpu;
	if (!s->cgroup.has_cpu)
		return;
	common__v2__cgroup_cpu__init(&r->group_cpu);
	r->group_cpu.period = s->cgroup.cpu_period_us;
	r->group_cpu.quota = s->cgroup.cpu_quota_us;
	r->group_cpu.used_percent = s->cgroup.cpu_percent;
	r->cpu.cgroup = &r->group_cpu;
}

static void set_memory(struct report *r, const struct hostinfo_sample *s)
{
	common__v2__memory__init(&r->memory);
	r->memory.total = s->mem_total;
	r->memory.available = s->mem_available;
	r->memory.free = s->mem_free;
	r->memory.used = s->mem_total > s->mem_available ? s->mem_total - s->mem_available : 0;
	r->memory.used_percent = share(r->memory.used, s->mem_total);
	r->memory.process_used_percent = share(s->process_rss, s->mem_total);
	r->host.memory = &r->memory;
	if (!s->cgroup.has_memory)
		return;
	common__v2__cgroup_memory__init(&r->group_memory);
	r->group_memory.limit = s->cgroup.memory_limit;
	r->group_memory.usage = s->cgroup.memory_usage;
	r->group_memory.used_percent = share(s->cgroup.memory_usage,
		s->cgroup.memory_limit > 0 ? (uint64_t)s->cgroup.memory_limit : s->mem_total);
	r->memory.cgroup = &r->group_memory;
}

static void set_network(struct announce *a, struct report *r, const struct hostinfo_sample *s)
{
	common__v2__network__init(&r->network);
	measure(a);
	r->network.tcp_connection_count = s->tcp_connections;
	r->network.location = a->location;
	r->network.idc = a->idc;
	r->network.max_rx_bandwidth = a->load.max_rx_bandwidth;
	r->network.max_tx_bandwidth = a->load.max_tx_bandwidth;
	r->network.has_rx_bandwidth = r->network.has_tx_bandwidth = true;
	r->network.rx_bandwidth = a->load.rx_bandwidth;
	r->network.tx_bandwidth = a->load.tx_bandwidth;
	r->host.network = &r->network;
}

static void set_disk(struct announce *a, struct report *r, const struct hostinfo_sample *s)
{
	uint64_t used = a->disk_total > a->disk_free ? a->disk_total - a->disk_free : 0;

	common__v2__disk__init(&r->disk);
	r->disk.total = a->disk_total;
	r->disk.free = a->disk_free;
	r->disk.used = used;
	r->disk.used_percent = share(used, a->disk_total);
	r->disk.read_bandwidth = s->read_bandwidth;
	r->disk.write_bandwidth = s->write_bandwidth;
	if (s->cgroup.has_io) {
		common__v2__cgroup_disk__init(&r->group_disk);
		r->group_disk.read_bandwidth = s->cgroup.read_bandwidth;
		r->group_disk.write_bandwidth = s->cgroup.write_bandwidth;
		r->disk.cgroup = &r->group_disk;
	}
	if (a->disk_total)
		r->host.disk = &r->disk;
}

static void set_host(struct announce *a, struct report *r)
{
	common__v2__host__init(&r->host);
	common__v2__build__init(&r->build);
	r->host.id = a->host_id;
	r->host.hostname = a->hostname;
	r->host.name = a->name ? a->name : a->hostname;
	r->host.ip = a->ip;
	r->host.port = r->host.download_port = a->port;
	r->host.os = (char *)"linux";
	r->host.platform = (char *)"linux";
	r->host.platform_family = (char *)"unix";
	r->host.platform_version = (char *)hostinfo_os_version(a->host);
	r->host.kernel_version = (char *)hostinfo_kernel(a->host);
	r->host.scheduler_cluster_id = a->cluster_id;
	r->host.disable_shared = a->disable_shared;
	r->build.git_version = (char *)HOST_VERSION_PREFIX VERSION;
	r->host.build = &r->build;
}

static void report(struct announce *a)
{
	struct hostinfo_sample s;
	_cleanup_buf_ struct buf out = {0};
	struct report r;

	if (a->is_stopped)
		return;
	hostinfo_read(a->host, loop_now(a->loop), &s);
	scheduler__v2__announce_host_request__init(&r.m);
	set_host(a, &r);
	set_cpu(&r, &s);
	set_memory(&r, &s);
	set_network(a, &r, &s);
	set_disk(a, &r, &s);
	api_set_duration(&r.interval, a->interval_ns);
	r.m.host = &r.host;
	r.m.interval = &r.interval;
	if (pbc_pack(&r.m.base, &out))
		log_warning("announce: no memory for the host report");
	else
		sched_announce_host(a->sched, out.data, out.len);
	a->told_free = a->disk_free;
}

/* ---- time -------------------------------------------------------------------------------- */

static void arm(struct announce *a)
{
	if (loop_op_is_active(&a->timer)) {
		if (a->next_ns < a->timer_at_ns)
			loop_cancel(a->loop, &a->timer);
		return;
	}
	a->timer_at_ns = a->next_ns;
	loop_timer(a->loop, &a->timer, a->next_ns);
}

static void on_timer(struct loop_op *op, int res)
{
	struct announce *a = container_of(op, struct announce, timer);

	(void)res;
	if (a->closing) {
		announce_end(a);
		return;
	}
	if (loop_now(a->loop) >= a->next_ns) {
		report(a);
		a->next_ns = loop_now(a->loop) + a->interval_ns;
	}
	arm(a);
}

void announce_stop(struct announce *a)
{
	a->is_stopped = true;
}

void announce_now(struct announce *a)
{
	uint64_t soon = loop_now(a->loop) + SOON_MS * (SEC / 1000); /* several events, one report */

	if (soon < a->next_ns) {
		a->next_ns = soon;
		arm(a);
	}
}

void announce_set_disk(struct announce *a, uint64_t total, uint64_t available)
{
	uint64_t change =
		available > a->told_free ? available - a->told_free : a->told_free - available;

	a->disk_total = total;
	a->disk_free = available;
	if (change > total / 100)
		announce_now(a);
}

void announce_set_address(struct announce *a, const char *host_id, const char *ip, uint16_t port)
{
	if (dup_to(&a->host_id, host_id) || dup_to(&a->ip, ip))
		log_err("announce: no memory for the new address");
	a->port = port;
	find_interface(a);
	announce_now(a);
}

void announce_set_place(struct announce *a, const char *idc, const char *location,
	bool disable_shared, uint64_t interval_ns)
{
	if (dup_to(&a->idc, idc) || dup_to(&a->location, location))
		log_err("announce: no memory for the new place");
	a->disable_shared = disable_shared;
	a->interval_ns = interval_ns;
	announce_now(a);
}

int announce_new(
	struct announce **out, struct loop *l, struct sched *s, const struct announce_config *cfg)
{
	struct announce *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->loop = l;
	a->sched = s;
	a->port = cfg->port;
	a->disable_shared = cfg->disable_shared;
	a->cluster_id = cfg->cluster_id;
	a->interval_ns = cfg->interval_ns ? cfg->interval_ns : 30 * SEC;
	a->max_tx = cfg->max_tx_bandwidth;
	a->max_rx = cfg->max_rx_bandwidth;
	loop_op_init(&a->timer, on_timer);
	r = hostinfo_new(&a->host);
	if (r || dup_to(&a->host_id, cfg->host_id) || dup_to(&a->hostname, cfg->hostname) ||
		dup_to(&a->ip, cfg->ip) || dup_to(&a->name, cfg->name) ||
		dup_to(&a->idc, cfg->idc) || dup_to(&a->location, cfg->location)) {
		announce_end(a);
		return r ? r : -ENOMEM;
	}
	r = netif_new(&a->netif);
	if (r)
		log_warning(
			"announce: no route netlink, load and speed of the network are unknown: "
			"%s",
			strerror(-r));
	find_interface(a);
	a->next_ns = loop_now(l);
	arm(a);
	*out = a;
	return 0;
}

struct announce *announce_free(struct announce *a)
{
	if (!a)
		return NULL;
	a->closing = true;
	if (loop_op_is_active(&a->timer))
		loop_cancel(a->loop, &a->timer);
	else
		announce_end(a);
	return NULL;
}
