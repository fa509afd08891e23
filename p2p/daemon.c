/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of building is the order of struct daemon; each step either works or says why not. Stopping
 * has three parts: nothing new comes in and what runs is ended; the loop turns until all rooms are
 * idle or the patience is over; the rooms are freed in reverse.
 */
#include "p2p/daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cachefilesd/api/store.h"
#include "common/cleanup.h"
#include "common/buf.h"
#include "common/http.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/path.h"
#include "common/rpc/addr.h"
#include "common/rpc/health.h"
#include "common/rpc/listen.h"
#include "common/rpc/rpc.h"
#include "p2p/access.h"
#include "p2p/announce.h"
#include "p2p/api/methods.h"
#include "p2p/broker/client.h"
#include "p2p/channels.h"
#include "p2p/config.h"
#include "p2p/export.h"
#include "p2p/fetch.h"
#include "p2p/foreign.h"
#include "p2p/identity.h"
#include "p2p/import.h"
#include "p2p/local.h"
#include "p2p/manager.h"
#include "p2p/metrics.h"
#include "p2p/own_address.h"
#include "p2p/resolve.h"
#include "p2p/sched.h"
#include "p2p/scheduler/scheduler.h"
#include "p2p/serve.h"
#include "p2p/svc_admin.h"
#include "p2p/svc_local.h"
#include "p2p/svc_peer.h"
#include "p2p/task_id.h"
#include "p2p/tasks.h"
#include "p2p/vortex/client.h"
#include "p2p/vortex/server.h"
#include "p2p/writer.h"

#define SECOND               UINT64_C(1000000000)
#define STOP_NS              (5 * SECOND) /* patience of an orderly stop */
#define LEAVE_NS             (2 * SECOND) /* of it, for Dragonfly's schedulers */
#define MAX_CHANNELS         256
#define MAX_IDLE_CONNECTIONS 64
#define MAX_LIST             256 /* peers, networks, schedulers in the configuration */

struct daemon {
	struct config *cfg;
	daemon_reread_fn reread;
	void *reread_arg;
	/* who we are */
	char hostname[256], ip[INET6_ADDRSTRLEN], host_id[HOST_ID_SIZE];
	char bound_ip
		[INET6_ADDRSTRLEN]; /* where peers are listened for, when that is our own address */
	struct sockaddr_storage self;
	/* Dragonfly's: what was heard of last, and the networks that may ask for changes; owned */
	struct ring_node *schedulers;
	size_t n_schedulers;
	struct scheduler_prefix *nets;
	size_t n_nets;
	gid_t admin_gid;
	char broker_program[PATH_MAX];
	/* the rooms */
	struct loop *loop;
	struct identity identity;
	int local_fd, peer_fd, piece_fd; /* until their servers own them */
	struct store_client *store;
	struct tasks *tasks;
	struct writers *writers;
	struct local *local;
	struct channels *channels;
	struct scheduler *scheduler;
	struct sched *sched;
	struct manager *manager;
	struct announce *announce;
	struct own_address *own_address;
	struct vortex_pool *pool;
	struct serve *serve;
	struct vortex_server *vortex;
	struct fetches *fetches;
	struct foreign *foreign;
	struct imports *imports;
	struct broker *broker;
	struct exports *exports;
	struct svc_local *svc_local;
	struct svc_admin *svc_admin;
	struct svc_peer *svc_peer;
	struct health *health;
	struct rpc_server *local_server, *peer_server;
	struct http_server *metrics_server, *health_server;
	uint64_t disk_total, disk_available;
	/* running */
	int signal_fd;
	struct loop_op signal_op, watchdog, rebind;
	struct signalfd_siginfo info;
	uint64_t watchdog_ns;
	bool is_stopping, is_store_ready;
	bool local_stopped, peer_stopped, vortex_gone, pool_gone, broker_gone, has_left;
	bool metrics_gone, health_gone;
	bool own_address_gone;
};

/* ---- who we are ------------------------------------------------------------------------------ */

static int fail(int e, const char *what)
{
	log_err("daemon: cannot start: %s: %s", what, strerror(-e));
	return e;
}

static int set_address(struct sockaddr_storage *sa, const char *ip, uint16_t port)
{
	struct sockaddr_in *v4 = (void *)sa;
	struct sockaddr_in6 *v6 = (void *)sa;

	memset(sa, 0, sizeof(*sa));
	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
	} else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
	} else {
		return -EINVAL;
	}
	return 0;
}

static socklen_t address_len(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static int find_group(const char *name, gid_t *gid)
{
	struct group *g;

	*gid = ACCESS_NO_GROUP;
	if (!name || !*name)
		return 0;
	g = getgrnam(name);
	if (!g) {
		log_err("daemon: cannot start: there is no group %s", name);
		return -ENOENT;
	}
	*gid = g->gr_gid;
	return 0;
}

static int identify(struct daemon *d)
{
	const struct config *c = d->cfg;
	char *slash;
	ssize_t n;
	int r;

	if (c->hostname && *c->hostname)
		snprintf(d->hostname, sizeof(d->hostname), "%s", c->hostname);
	else if (gethostname(d->hostname, sizeof(d->hostname) - 1) < 0)
		return fail(-errno, "the host name");
	if (c->ip && *c->ip) {
		snprintf(d->ip, sizeof(d->ip), "%s", c->ip);
	} else {
		r = own_address_find(c->peers, d->ip);
		if (r < 0)
			return fail(r, "the addresses of this host");
	}
	if (set_address(&d->self, d->ip, (uint16_t)c->port) < 0) {
		log_err("daemon: cannot start: [host] ip %s is not an IP address", d->ip);
		return -EINVAL;
	}
	host_id_make(d->ip, d->hostname, d->host_id);
	r = find_group(c->admin_group, &d->admin_gid);
	if (r < 0)
		return r;
	if (c->broker_program && *c->broker_program) {
		snprintf(d->broker_program, sizeof(d->broker_program), "%s", c->broker_program);
		return 0;
	}
	n = readlink("/proc/self/exe", d->broker_program, sizeof(d->broker_program) - 32);
	if (n < 0)
		return fail(-errno, "the place of this executable");
	d->broker_program[n] = 0;
	slash = strrchr(d->broker_program, '/');
	snprintf(slash + 1, 31, "dfdaemon-broker");
	if (access(d->broker_program, X_OK) < 0)
		snprintf(d->broker_program, sizeof(d->broker_program), "%s",
			LIBEXECDIR "/dfcachefiles/dfdaemon-broker");
	return 0;
}

/* ---- listening --------------------------------------------------------------------------------- */

static int listen_tcp(const char *ip, const char *option, uint64_t port, int *out)
{
	struct sockaddr_storage sa;
	int fd;

	if (ip && *ip) {
		if (set_address(&sa, ip, (uint16_t)port) < 0) {
			log_err("daemon: cannot start: [%s] listen %s is not an IP address", option,
				ip);
			return -EINVAL;
		}
	} else {
		set_address(&sa, "0.0.0.0", (uint16_t)port);
	}
	fd = rpc_listen_tcp((struct sockaddr *)&sa, address_len(&sa));
	if (fd < 0) {
		log_err("daemon: cannot start: cannot listen at %s port %" PRIu64 ": %s",
			ip && *ip ? ip : "any address", port, strerror(-fd));
		return fd;
	}
	*out = fd;
	return 0;
}

static int listen_all(struct daemon *d)
{
	const struct config *c = d->cfg;
	_cleanup_free_ char *dir = strdup(c->socket);
	unsigned mode;
	gid_t gid;
	int r;

	r = find_group(c->socket_group, &gid);
	if (r < 0)
		return r;
	if (!dir || config_mode(c->socket_mode, &mode) < 0)
		return fail(dir ? -EINVAL : -ENOMEM, "the socket's mode");
	*strrchr(dir, '/') = 0;
	if (*dir)
		path_mkdir_p(dir, 0755); /* when it cannot be made, the next line says why */
	d->local_fd = rpc_listen_unix(c->socket, mode, gid);
	if (d->local_fd < 0) {
		log_err("daemon: cannot start: cannot listen at %s: %s", c->socket,
			strerror(-d->local_fd));
		return d->local_fd;
	}
	if (c->listen && !strcmp(c->listen, d->ip))
		snprintf(d->bound_ip, sizeof(d->bound_ip), "%s", c->listen);
	r = listen_tcp(c->listen, "peer", c->port, &d->peer_fd);
	return r < 0 ? r : listen_tcp(c->listen, "peer", c->piece_port, &d->piece_fd);
}

/* ---- the rooms --------------------------------------------------------------------------------- */

static void on_store_event(void *arg, enum store_event e)
{
	struct daemon *d = arg;

	if (e == STORE_EVENT_READY) {
		d->is_store_ready = true;
		log_notice("daemon: the store is there socket=%s", d->cfg->store_socket);
	} else if (e == STORE_EVENT_LOST && d->is_store_ready && !d->is_stopping) {
		d->is_store_ready = false;
		log_warning("daemon: the store went away, waiting for it socket=%s",
			d->cfg->store_socket);
	}
	if (d->health)
		health_set(d->health, SERVICE_DFDAEMON_DOWNLOAD, d->is_store_ready);
	writers_on_store_event(d->writers, e);
	tasks_on_store_event(d->tasks, e);
	local_on_store_event(d->local, e);
}

/* Listeners that are bound to the address that was advertised follow it: nobody would find them. Until it
 * can be bound (an address may still be tentative) it is tried again. */
static void rebind(struct daemon *d)
{
	_cleanup_fd_ int peer = -1, piece = -1;
	struct sockaddr_storage sa;

	if (!*d->bound_ip || !strcmp(d->bound_ip, d->ip) || d->is_stopping)
		return;
	peer = rpc_listen_tcp((struct sockaddr *)&d->self, address_len(&d->self));
	set_address(&sa, d->ip, (uint16_t)d->cfg->piece_port);
	piece = peer < 0 ? peer : rpc_listen_tcp((struct sockaddr *)&sa, address_len(&sa));
	if (piece < 0) {
		LOG_LIMITED(LOG_WARNING, "daemon: cannot listen at %s yet: %s", d->ip,
			strerror(-piece));
		if (!loop_op_is_active(&d->rebind))
			loop_timer(d->loop, &d->rebind, loop_now(d->loop) + SECOND);
		return;
	}
	rpc_server_move(d->peer_server, 0, take_fd(&peer));
	vortex_server_move(d->vortex, take_fd(&piece));
	log_notice("daemon: peers are listened for at another address from=%s to=%s", d->bound_ip,
		d->ip);
	snprintf(d->bound_ip, sizeof(d->bound_ip), "%s", d->ip);
}

static void on_rebind(struct loop_op *op, int res)
{
	rebind(container_of(op, struct daemon, rebind));
}

static void on_own_address(void *arg, const char *ip)
{
	struct daemon *d = arg;
	bool has_moved = strcmp(d->ip, ip) != 0;

	if (has_moved) {
		/* the rooms that tell it borrow this text */
		snprintf(d->ip, sizeof(d->ip), "%s", ip);
		set_address(&d->self, d->ip, (uint16_t)d->cfg->port);
		rebind(d);
		if (d->scheduler)
			scheduler_readdress(d->scheduler, &d->self);
	}
	announce_set_address(d->announce, d->host_id, ip, (uint16_t)d->cfg->port);
}

static void on_space(void *arg, uint64_t total, uint64_t available)
{
	struct daemon *d = arg;

	d->disk_total = total;
	d->disk_available = available;
	announce_set_disk(d->announce, total, available);
}

static void on_schedulers(void *arg)
{
	announce_now(((struct daemon *)arg)->announce);
}

static int build_store(struct daemon *d)
{
	struct tasks_options to = {0};
	int r;

	r = store_client_new(&d->store, d->loop, d->cfg->store_socket, on_store_event, d);
	if (r == 0)
		r = tasks_new(&d->tasks, d->loop, d->store, &to);
	if (r == 0)
		r = writers_new(&d->writers, d->loop, d->store);
	if (r == 0)
		r = local_new(&d->local, d->loop, d->store, d->tasks);
	return r < 0 ? fail(r, "the store's client") : 0;
}

struct lists {
	char names[MAX_LIST][300];
	const char *peers[MAX_LIST];
	struct scheduler_prefix nets[MAX_LIST];
	size_t n_peers, n_nets;
};

/* read_lists - peers and networks of @c; 0, or -EINVAL after a sentence in the log */
static int read_lists(const struct config *c, struct lists *l)
{
	char item[300], port[6];

	l->n_peers = l->n_nets = 0;
	for (; l->n_peers < MAX_LIST &&
		config_list(c->peers, l->n_peers, l->names[l->n_peers], sizeof(l->names[0]));
		l->n_peers++) {
		l->peers[l->n_peers] = l->names[l->n_peers];
		if (resolve_split(l->names[l->n_peers], item, port) < 0) {
			log_err("daemon: [peer] peers: \"%s\" is not host:port",
				l->names[l->n_peers]);
			return -EINVAL;
		}
	}
	for (; l->n_nets < MAX_LIST && config_list(c->peer_networks, l->n_nets, item, sizeof(item));
		l->n_nets++) {
		if (scheduler_parse_prefix(item, &l->nets[l->n_nets]) < 0) {
			log_err("daemon: [peer] peer_networks: \"%s\" is not a network such as "
				"10.0.0.0/8",
				item);
			return -EINVAL;
		}
	}
	return 0;
}

static int build_embedded(struct daemon *d)
{
	static const struct scheduler_ops ops = {
		.drop = local_drop,
		.set_expiry = local_set_expiry,
	};
	const struct config *c = d->cfg;
	_cleanup_free_ struct lists *l = calloc(1, sizeof(*l));
	struct scheduler_config sc = {
		.host_id = d->host_id,
		.hostname = d->hostname,
		.self = d->self,
		.heartbeat_ns = c->heartbeat_ns,
		.resolve_ns = c->resolve_ns,
		.leave_grace_ns = c->leave_grace_ns,
	};
	int r = l ? read_lists(c, l) : -ENOMEM;

	if (r < 0)
		return fail(r, "the lists of peers");
	sc.peers = l->peers;
	sc.n_peers = l->n_peers;
	sc.networks = l->nets;
	sc.n_networks = l->n_nets;
	r = scheduler_new(&d->scheduler, d->loop, d->channels, &sc, &ops, d->local);
	return r < 0 ? fail(r, "the scheduler") : 0;
}

/* take_networks - who besides the schedulers may ask for changes in a cluster of Dragonfly */
static int take_networks(struct daemon *d, const struct lists *l)
{
	struct scheduler_prefix *v = calloc(l->n_nets + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	memcpy(v, l->nets, l->n_nets * sizeof(*v));
	free(d->nets);
	d->nets = v;
	d->n_nets = l->n_nets;
	return 0;
}

static void on_known_schedulers(void *arg, const struct ring_node *v, size_t n)
{
	struct daemon *d = arg;

	memcpy(d->schedulers, v, n * sizeof(*v));
	d->n_schedulers = n;
	if (sched_set_schedulers(d->sched, v, n) < 0)
		log_err("daemon: out of memory: the schedulers stay as they were");
}

static int build_manager(struct daemon *d)
{
	static const struct manager_ops ops = {.schedulers = on_known_schedulers};
	const struct config *c = d->cfg;
	_cleanup_free_ struct lists *l = calloc(1, sizeof(*l));
	bool is_managed = c->manager && *c->manager;
	struct manager_config mc = {
		.loop = d->loop,
		.channels = d->channels,
		.address = is_managed ? c->manager : NULL,
		.hostname = d->hostname,
		.ip = d->ip,
		.idc = c->idc,
		.location = c->location,
		.cluster_id = c->manager_cluster,
		.refresh_ns = is_managed ? c->manager_refresh_ns : c->resolve_ns,
		.tls = d->identity.manager,
		.scheduler_tls = d->identity.scheduler,
		.ops = &ops,
		.arg = d,
	};
	const char *bad = "";
	int r = l ? read_lists(c, l) : -ENOMEM;

	if (r == 0)
		r = take_networks(d, l);
	if (r < 0)
		return fail(r, "the lists of networks");
	mc.fixed = l->peers; /* other lists are not wanted any more */
	for (; mc.n_fixed < MAX_LIST &&
		config_list(c->schedulers, mc.n_fixed, l->names[mc.n_fixed], sizeof(l->names[0]));
		mc.n_fixed++)
		l->peers[mc.n_fixed] = l->names[mc.n_fixed];
	r = manager_new(&d->manager, &mc, &bad);
	if (r == -EINVAL) {
		log_err("daemon: cannot start: %s: \"%s\" is not host:port",
			is_managed ? "[manager] address" : "[peer] schedulers", bad);
		return r;
	}
	return r < 0 ? fail(r, "the search for schedulers") : 0;
}

static int build_scheduling(struct daemon *d)
{
	const struct config *c = d->cfg;
	struct sched_config sc = {.host_id = d->host_id};
	struct announce_config ac = {
		.host_id = d->host_id,
		.hostname = d->hostname,
		.ip = d->ip,
		.port = (uint16_t)c->port,
		.idc = c->idc,
		.location = c->location,
		.disable_shared = c->disable_shared,
		.interval_ns = c->announce_ns,
	};
	int r;

	d->channels = channels_new(d->loop, MAX_CHANNELS);
	d->schedulers = calloc(MANAGER_SCHEDULERS_MAX, sizeof(*d->schedulers));
	if (!d->channels || !d->schedulers ||
		channels_set_tls(d->channels, d->identity.peers, c->tls_name) < 0)
		return fail(-ENOMEM, "the channels");
	if (c->ip && *c->ip)
		channels_set_source(d->channels, &d->self);
	r = c->scheduler == CONFIG_EMBEDDED ? build_embedded(d) : 0;
	if (r < 0)
		return r;
	sc.loop = d->loop;
	sc.channels = d->channels;
	sc.embedded = d->scheduler;
	sc.ring = c->scheduler_ring == CONFIG_RING_NAMES ? RING_NAMES : RING_ADDRESSES;
	r = sched_new(&d->sched, &sc);
	if (r < 0)
		return fail(r, "the scheduler's client");
	local_set_sched(d->local, d->sched);
	r = announce_new(&d->announce, d->loop, d->sched, &ac);
	if (r < 0)
		return fail(r, "the host's reports");
	r = own_address_follow(&d->own_address, d->loop, c->peers, c->ip, d->ip, on_own_address, d);
	if (r < 0)
		log_warning("daemon: changes of the network are not followed: %s", strerror(-r));
	sched_on_schedulers(d->sched, on_schedulers, d);
	r = build_manager(d);
	if (r < 0)
		return r;
	local_watch_space(d->local, on_space, d);
	return 0;
}

static int build_transfers(struct daemon *d)
{
	const struct config *c = d->cfg;
	struct vortex_server_limits limits = {
		.max_connections = (unsigned)c->max_connections,
		.max_sending = (unsigned)c->slots,
		.bandwidth = c->upload_bandwidth,
	};
	struct vortex_pool_options po = {
		.max_idle = MAX_IDLE_CONNECTIONS,
		.buffer_bytes = c->buffer_bytes,
		.max_buffers = (unsigned)(c->buffer_memory_bytes / c->buffer_bytes),
		.bandwidth = c->download_bandwidth,
		.replica_bandwidth = c->replica_bandwidth,
	};
	struct fetches_config fc = {
		.loop = d->loop,
		.tasks = d->tasks,
		.writers = d->writers,
		.sched = d->sched,
		.local = d->local,
		.channels = d->channels,
		.host_id = d->host_id,
		.hostname = d->hostname,
		.ip = d->ip,
		.concurrent_pieces = (unsigned)c->concurrent_pieces,
		.max_fetches = (unsigned)c->max_downloads,
		.max_gets = po.max_buffers,
		.progress_ns = c->progress_timeout_ns,
		.room_wait_ns = c->room_timeout_ns,
	};
	int r;

	r = vortex_pool_new(&d->pool, d->loop, &po);
	if (r < 0)
		return fail(r, "the piece client");
	if (c->ip && *c->ip)
		vortex_pool_set_source(d->pool, &d->self);
	r = serve_new(&d->serve, d->loop, d->tasks);
	if (r < 0)
		return fail(r, "the piece source");
	r = vortex_server_new(
		&d->vortex, d->loop, take_fd(&d->piece_fd), &serve_ops, d->serve, &limits);
	if (r < 0)
		return fail(r, "the piece server");
	if (c->tls_pieces) {
		vortex_pool_set_tls(d->pool, d->identity.peers, c->tls_name);
		vortex_server_set_tls(d->vortex, d->identity.peers);
	}
	fc.pool = d->pool;
	r = fetches_new(&d->fetches, &fc);
	return r < 0 ? fail(r, "downloads") : 0;
}

static int build_journeys(struct daemon *d)
{
	const struct config *c = d->cfg;
	bool embedded = c->scheduler == CONFIG_EMBEDDED;
	struct broker_options bo = {
		.socket_path = c->broker_socket,
		.program = d->broker_program,
	};
	struct imports_config ic = {
		.loop = d->loop,
		.writers = d->writers,
		.sched = d->sched,
		.local = d->local,
		.host_id = d->host_id,
		.hostname = d->hostname,
		.ip = d->ip,
		.id_form = c->task_id == CONFIG_ID_SHA256 ||
					   (c->task_id == CONFIG_ID_AUTO && !embedded)
				   ? TASK_ID_SHA256
				   : TASK_ID_CRC32,
		.is_embedded = embedded,
		.max_imports = (unsigned)c->max_imports,
		.room_wait_ns = c->room_timeout_ns,
	};
	struct exports_config ec = {
		.loop = d->loop,
		.tasks = d->tasks,
		.fetches = d->fetches,
		.local = d->local,
		.host_id = d->host_id,
		.hostname = d->hostname,
		.ip = d->ip,
		.link_first = c->export_link,
		.manager = d->manager,
	};
	int r;

	r = broker_new(&d->broker, d->loop, &bo);
	if (r < 0)
		return fail(r, "the broker's client");
	r = foreign_new(&d->foreign, d->loop, (unsigned)c->workers);
	if (r < 0)
		return fail(r, "callers' descriptors");
	ic.foreign = ec.foreign = d->foreign;
	r = imports_new(&d->imports, &ic);
	if (r < 0)
		return fail(r, "imports");
	ec.broker = d->broker;
	r = exports_new(&d->exports, &ec);
	return r < 0 ? fail(r, "exports") : 0;
}

static bool may_change(void *arg, const struct rpc_call *call)
{
	struct daemon *d = arg;

	if (d->scheduler)
		return scheduler_call_trusted(d->scheduler, call);
	if (rpc_call_peer(call)->certificate)
		return true;
	for (size_t i = 0; i < d->n_schedulers; i++)
		if (addr_is_same_host((const struct sockaddr *)&d->schedulers[i].addr,
			    (const struct sockaddr *)&rpc_call_peer(call)->addr))
			return true;
	for (size_t i = 0; i < d->n_nets; i++)
		if (scheduler_prefix_has(&d->nets[i], &rpc_call_peer(call)->addr))
			return true;
	return false;
}

static int build_services(struct daemon *d)
{
	const struct config *c = d->cfg;
	struct svc_local_config lc = {
		.manager = d->manager,
		.foreign = d->foreign,
		.exports = d->exports,
		.imports = d->imports,
		.broker = d->broker,
		.sched = d->sched,
		.store = d->store,
		.host_id = d->host_id,
		.admin_gid = d->admin_gid,
		.default_ttl_ns = c->default_ttl_ns,
		.min_ttl_ns = c->min_ttl_ns,
		.max_ttl_ns = c->max_ttl_ns,
		.max_replicas = (unsigned)c->max_replicas,
	};
	struct svc_admin_config ac = {
		.local = d->local,
		.sched = d->sched,
		.store = d->store,
		.admin_gid = d->admin_gid,
		.min_ttl_ns = c->min_ttl_ns,
		.max_ttl_ns = c->max_ttl_ns,
	};
	struct svc_peer_config pc = {
		.loop = d->loop,
		.tasks = d->tasks,
		.exports = d->exports,
		.local = d->local,
		.sched = d->sched,
		.announce = d->announce,
		.serve = d->serve,
		.host_id = d->host_id,
		.hostname = d->hostname,
		.ip = d->ip,
		.port = (uint16_t)c->port,
		.piece_port = (uint16_t)c->piece_port,
		.disable_shared = c->disable_shared,
		.may_change = may_change,
		.may_change_arg = d,
	};
	struct rpc_limits peer_limits = {.max_fds = 0, .max_connections = 1024};
	struct rpc_service services[3 + SCHEDULER_N_SERVICES];
	size_t n = 0;
	int r, fd;

	r = svc_local_new(&d->svc_local, &lc);
	if (r == 0)
		r = svc_admin_new(&d->svc_admin, &ac);
	if (r == 0)
		r = svc_peer_new(&d->svc_peer, &pc);
	if (r < 0)
		return fail(r, "the services");
	serve_listen(d->serve, svc_peer_served, d->svc_peer);
	d->health = health_new();
	if (!d->health || health_set(d->health, SERVICE_DFDAEMON_DOWNLOAD, false) < 0 ||
		health_set(d->health, SERVICE_DFDAEMON_UPLOAD, true) < 0)
		return fail(-ENOMEM, "the health service");
	services[n++] = svc_local_service(d->svc_local);
	services[n++] = svc_admin_service(d->svc_admin);
	services[n++] = health_service(d->health);
	fd = take_fd(&d->local_fd);
	r = rpc_server_new(&d->local_server, d->loop, &fd, 1, services, n, &rpc_limits_default);
	if (r < 0)
		return fail(r, "the server of the unix socket");
	n = 0;
	services[n++] = svc_peer_service(d->svc_peer);
	services[n++] = health_service(d->health);
	if (d->scheduler)
		n += scheduler_services(d->scheduler, services + n);
	rpc_limits_complete(&peer_limits);
	fd = take_fd(&d->peer_fd);
	r = rpc_server_new(&d->peer_server, d->loop, &fd, 1, services, n, &peer_limits);
	if (r < 0)
		return fail(r, "the server for peers");
	rpc_server_set_tls(d->peer_server, d->identity.peers);
	return 0;
}

/* ---- pages for probes -------------------------------------------------------------------------- */

static int metrics_page(
	void *arg, const char *path, size_t path_len, struct buf *body, const char **type)
{
	struct daemon *d = arg;
	struct metrics m = {
		.imports = imports_get_stats(d->imports),
		.exports = exports_get_stats(d->exports),
		.fetches = fetches_get_stats(d->fetches),
		.serve = serve_get_stats(d->serve),
		.vortex = vortex_server_get_stats(d->vortex),
		.import_ms = imports_durations(d->imports),
		.export_ms = exports_durations(d->exports),
		.imports_by_label = imports_labels(d->imports),
		.exports_by_label = exports_labels(d->exports),
		.n_tasks = local_n_tasks(d->local),
		.disk_total = d->disk_total,
		.disk_available = d->disk_available,
		.store_is_ready = d->is_store_ready,
	};

	if (path_len != strlen("/metrics") || memcmp(path, "/metrics", path_len) != 0)
		return 404;
	if (d->scheduler) {
		m.has_scheduler = true;
		m.scheduler = scheduler_get_stats(d->scheduler);
	}
	*type = "text/plain; version=0.0.4; charset=utf-8";
	metrics_format(&m, body);
	return 200;
}

static int health_page(
	void *arg, const char *path, size_t path_len, struct buf *body, const char **type)
{
	struct daemon *d = arg;

	if (path_len != strlen("/healthy") || memcmp(path, "/healthy", path_len) != 0)
		return 404;
	if (d->is_store_ready && !d->is_stopping)
		return 200;
	buf_adds(body, d->is_stopping ? "dfdaemon is stopping\n" : "cachefilesd does not answer\n");
	return 503;
}

static int build_page(struct daemon *d, const char *name, const char *ip, uint64_t port,
	http_page_fn page, struct http_server **out)
{
	_cleanup_fd_ int fd = -1;
	int r;

	if (!port)
		return 0;
	r = listen_tcp(ip, name, port, &fd);
	if (r < 0)
		return r;
	r = http_server_new(out, d->loop, fd, page, d);
	if (r < 0)
		return fail(r, name);
	take_fd(&fd);
	return 0;
}

static int build_pages(struct daemon *d)
{
	const struct config *c = d->cfg;
	int r = build_page(
		d, "metrics", c->metrics_listen, c->metrics_port, metrics_page, &d->metrics_server);

	return r < 0 ? r
		     : build_page(d, "health", c->health_listen, c->health_port, health_page,
			       &d->health_server);
}

/* ---- running ----------------------------------------------------------------------------------- */

static void apply(struct daemon *d, const struct lists *l)
{
	const struct config *c = d->cfg;
	size_t bad;

	log_set_level(log_level_parse(c->log_level));
	announce_set_place(d->announce, c->idc, c->location, c->disable_shared, c->announce_ns);
	svc_peer_set_shared(d->svc_peer, c->disable_shared);
	svc_local_set_limits(d->svc_local, c->default_ttl_ns, c->min_ttl_ns, c->max_ttl_ns,
		(unsigned)c->max_replicas);
	svc_admin_set_limits(d->svc_admin, c->min_ttl_ns, c->max_ttl_ns);
	imports_set_limits(d->imports, (unsigned)c->max_imports, c->room_timeout_ns);
	fetches_set_limits(
		d->fetches, (unsigned)c->max_downloads, c->progress_timeout_ns, c->room_timeout_ns);
	exports_set_link_first(d->exports, c->export_link);
	vortex_server_set_bandwidth(d->vortex, c->upload_bandwidth);
	if (d->scheduler && scheduler_set_peers(d->scheduler, l->peers, l->n_peers, l->nets,
				    l->n_nets, &bad) < 0)
		log_err("daemon: no memory for the new lists of peers, the old ones stay");
	if (!d->scheduler && take_networks(d, l) < 0)
		log_err("daemon: no memory for the new networks, the old ones stay");
}

static void log_lines(int level, const char *what, const struct buf *lines)
{
	const char *p = buf_str(lines), *end;

	for (; (end = strchr(p, '\n')); p = end + 1)
		log_line(level, "daemon: %s: %.*s", what, (int)(end - p), p);
}

/* reload - all of the new configuration is good, or nothing of it is taken */
static void reload(struct daemon *d)
{
	_cleanup_buf_ struct buf errors = {0}, taken = {0}, kept = {0};
	_cleanup_free_ struct lists *l = calloc(1, sizeof(*l));
	struct config next;

	if (!l || config_init(&next) < 0) {
		log_err("daemon: no memory to read the configuration again");
		return;
	}
	if (d->reread(d->reread_arg, &next, &errors) || config_check(&next, &errors) ||
		read_lists(&next, l) < 0) {
		log_lines(LOG_ERR, "the configuration", &errors);
		log_err("daemon: the old configuration stays");
	} else {
		config_take(d->cfg, &next, &taken, &kept);
		apply(d, l);
		log_lines(LOG_NOTICE, "changed", &taken);
		log_lines(LOG_WARNING, "needs a restart", &kept);
		log_notice("daemon: the configuration was read again");
	}
	config_fini(&next);
}

static void on_signal(struct loop_op *op, int res)
{
	struct daemon *d = container_of(op, struct daemon, signal_op);

	if (res < 0)
		return;
	while (read(d->signal_fd, &d->info, sizeof(d->info)) == (ssize_t)sizeof(d->info)) {
		if (d->info.ssi_signo == SIGHUP) {
			int r = log_reopen();

			if (r < 0)
				log_err("daemon: the log cannot be reopened: %s", strerror(-r));
			identity_reload(&d->identity);
			reload(d);
			continue;
		}
		log_notice("daemon: stopping signal=%u", d->info.ssi_signo);
		d->is_stopping = true;
		loop_quit(d->loop);
	}
	if (!d->is_stopping)
		loop_poll(d->loop, &d->signal_op, d->signal_fd, POLLIN);
}

static void on_watchdog(struct loop_op *op, int res)
{
	struct daemon *d = container_of(op, struct daemon, watchdog);

	if (d->is_stopping)
		return;
	notify("WATCHDOG=1");
	loop_timer(d->loop, &d->watchdog, loop_now(d->loop) + d->watchdog_ns / 2);
}

static int watch_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return fail(-errno, "signals");
	loop_op_init(&d->rebind, on_rebind);
	loop_op_init(&d->signal_op, on_signal);
	loop_poll(d->loop, &d->signal_op, d->signal_fd, POLLIN);
	loop_op_init(&d->watchdog, on_watchdog);
	d->watchdog_ns = notify_watchdog_ns();
	if (d->watchdog_ns)
		loop_timer(d->loop, &d->watchdog, loop_now(d->loop) + d->watchdog_ns / 2);
	return 0;
}

static int build(struct daemon *d)
{
	int r = identify(d);

	if (r == 0)
		r = loop_new_auto(&d->loop, d->cfg->loop, (unsigned)d->cfg->workers);
	if (r == 0)
		r = identity_init(&d->identity, d->loop, d->cfg);
	if (r < 0)
		return r;
	r = listen_all(d);
	if (r == 0)
		r = build_store(d);
	if (r == 0)
		r = build_scheduling(d);
	if (r == 0)
		r = build_transfers(d);
	if (r == 0)
		r = build_journeys(d);
	if (r == 0)
		r = build_services(d);
	if (r == 0)
		r = build_pages(d);
	if (r == 0)
		r = watch_signals(d);
	return r;
}

/* ---- stopping ---------------------------------------------------------------------------------- */

static void set_flag(void *arg)
{
	*(bool *)arg = true;
}

static void on_left(void *arg, int status, const char *message, const struct sched_task *t)
{
	if (status != RPC_OK)
		log_warning("daemon: a scheduler did not hear that this host leaves: %s", message);
	*(bool *)arg = true;
}

/* no replicas are asked of a host that has left, and nobody is sent there */
static void leave(struct daemon *d)
{
	d->has_left = true;
	if (d->scheduler) {
		d->has_left = false;
		scheduler_leave(d->scheduler, set_flag, &d->has_left);
	} else if (d->sched && d->n_schedulers) {
		announce_stop(d->announce);
		d->has_left = !sched_delete_host(d->sched, LEAVE_NS, on_left, &d->has_left);
	}
}

/* turn the loop until @is_done or @deadline */
static void turn_until(struct daemon *d, bool (*is_done)(struct daemon *), uint64_t deadline)
{
	while (!is_done(d) && loop_now(d->loop) < deadline)
		if (loop_step(d->loop, SECOND / 20) < 0)
			return;
}

static bool is_quiet(struct daemon *d)
{
	return (!d->exports || exports_is_idle(d->exports)) &&
	       (!d->imports || imports_is_idle(d->imports)) &&
	       (!d->fetches || fetches_is_idle(d->fetches)) && d->local_stopped &&
	       d->peer_stopped && d->has_left &&
	       (d->scheduler || !d->sched || sched_is_told(d->sched));
}

static bool is_settled(struct daemon *d)
{
	return d->vortex_gone && d->pool_gone && (!d->foreign || foreign_is_idle(d->foreign)) &&
	       (!d->serve || serve_is_idle(d->serve)) &&
	       (!d->writers || writers_is_idle(d->writers)) &&
	       (!d->tasks || tasks_is_idle(d->tasks)) && (!d->local || local_is_idle(d->local)) &&
	       d->broker_gone && d->own_address_gone && d->metrics_gone && d->health_gone;
}

static bool is_silent(struct daemon *d)
{
	return !loop_get_stats(d->loop).n_inflight;
}

static void stop(struct daemon *d)
{
	uint64_t deadline;

	d->is_stopping = true;
	notify("STOPPING=1");
	if (!d->loop)
		return;
	deadline = loop_now(d->loop) + STOP_NS;

	/* nothing new; what runs ends with a sentence */
	d->local_stopped = !d->local_server;
	d->peer_stopped = !d->peer_server;
	leave(d);
	if (d->svc_peer)
		svc_peer_close(d->svc_peer);
	/* first: what they have is kept for the next start, not dropped because the exports leave */
	if (d->fetches)
		fetches_close(d->fetches);
	if (d->exports)
		exports_close(d->exports);
	if (d->imports)
		imports_close(d->imports);
	if (d->health)
		health_stop(d->health);
	if (d->local_server)
		rpc_server_stop(
			d->local_server, deadline - 2 * SECOND, set_flag, &d->local_stopped);
	if (d->peer_server)
		rpc_server_stop(d->peer_server, deadline - 2 * SECOND, set_flag, &d->peer_stopped);
	turn_until(d, is_quiet, deadline);

	/* the rooms below give back what they hold */
	d->vortex_gone = !d->vortex;
	d->pool_gone = !d->pool;
	if (d->vortex)
		vortex_server_close(d->vortex, set_flag, &d->vortex_gone);
	if (d->pool)
		vortex_pool_close(d->pool, set_flag, &d->pool_gone);
	if (d->tasks)
		tasks_close(d->tasks);
	if (d->local)
		local_close(d->local);
	d->own_address_gone = !d->own_address;
	if (d->own_address)
		own_address_close(d->own_address, set_flag, &d->own_address_gone);
	d->broker_gone = !d->broker;
	if (d->broker)
		broker_close(d->broker, set_flag, &d->broker_gone);
	d->metrics_gone = !d->metrics_server;
	if (d->metrics_server)
		http_server_close(d->metrics_server, set_flag, &d->metrics_gone);
	d->health_gone = !d->health_server;
	if (d->health_server)
		http_server_close(d->health_server, set_flag, &d->health_gone);
	loop_cancel(d->loop, &d->signal_op);
	loop_cancel(d->loop, &d->watchdog);
	loop_cancel(d->loop, &d->rebind);
	identity_stop(&d->identity);
	turn_until(d, is_settled, deadline + SECOND);
}

/* false: something is still in flight, and memory in flight is not freed (law 2 of loop.h); the
 * process ends anyway */
static bool take_down(struct daemon *d)
{
	if (!d->loop)
		return true;
	if (!is_quiet(d) || !is_settled(d)) {
		log_warning("daemon: not everything ended in time");
		return false;
	}
	rpc_server_free(d->local_server);
	rpc_server_free(d->peer_server);
	health_free(d->health);
	svc_local_free(d->svc_local);
	svc_admin_free(d->svc_admin);
	svc_peer_free(d->svc_peer);
	exports_free(d->exports);
	imports_free(d->imports);
	foreign_free(d->foreign);
	fetches_free(d->fetches);
	serve_free(d->serve);
	announce_free(d->announce);
	manager_free(d->manager);
	sched_free(d->sched);
	scheduler_free(d->scheduler);
	channels_free(d->channels);
	local_free(d->local);
	writers_free(d->writers);
	tasks_free(d->tasks);
	store_client_free(d->store);
	turn_until(d, is_silent, loop_now(d->loop) + SECOND);
	if (!is_silent(d)) {
		log_warning("daemon: not everything ended in time");
		return false;
	}
	identity_fini(&d->identity);
	loop_free(d->loop);
	return true;
}

int daemon_run(struct config *cfg, daemon_reread_fn reread, void *arg)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->cfg = cfg;
	d->reread = reread;
	d->reread_arg = arg;
	d->local_fd = d->peer_fd = d->piece_fd = d->signal_fd = -1;
	r = build(d);
	if (r == 0) {
		log_notice("daemon: started version=%s host=%s loop=%s port=%" PRIu64
			   " piece_port=%" PRIu64 " socket=%s",
			VERSION, d->host_id, loop_name(d->loop), cfg->port, cfg->piece_port,
			cfg->socket);
		notify("READY=1\nSTATUS=serving");
		r = loop_run(d->loop);
		if (r < 0)
			log_err("daemon: the loop failed: %s", strerror(-r));
	}
	stop(d);
	if (d->loop)
		unlink(cfg->socket); /* nobody listens there any more */
	fd_close(d->local_fd);
	fd_close(d->peer_fd);
	fd_close(d->piece_fd);
	fd_close(d->signal_fd);
	if (take_down(d)) {
		free(d->schedulers);
		free(d->nets);
		free(d);
	}
	log_notice("daemon: stopped");
	return r;
}
