/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"

#define SECOND UINT64_C(1000000000)
#define DAY    (86400 * SECOND)

static const char *const scheduler_names[] = {"embedded", "dragonfly", NULL};
static const char *const ring_names[] = {"names", "addresses", NULL};
static const char *const task_id_names[] = {"auto", "crc32", "sha256", NULL};

#define AT(member) offsetof(struct config, member)

const struct conf_option config_options[] = {
	{"host", "hostname", CONF_STRING, AT(hostname),
		.help = "name in ids and reports; the system's when empty"},
	{"host", "ip", CONF_STRING, AT(ip),
		.help = "advertised address, and the one that connections to others come from; when empty, chosen by the route towards the peers and followed when it changes"},
	{"host", "idc", CONF_STRING, AT(idc),
		.help = "data centre: candidates in the same one are preferred, replicas spread over several"},
	{"host", "location", CONF_STRING, AT(location),
		.help = "place as a path joined by '|', for example eu|hall 2|rack 17"},

	{"local", "socket", CONF_STRING, AT(socket), .def = "/var/run/dragonfly/dfdaemon.sock",
		.help = "unix socket that dfcache talks to"},
	{"local", "socket_mode", CONF_STRING, AT(socket_mode), .def = "0666",
		.help = "permissions of the socket, octal: who may connect may export any task"},
	{"local", "socket_group", CONF_STRING, AT(socket_group),
		.help = "group of the socket; unchanged when empty"},
	{"local", "admin_group", CONF_STRING, AT(admin_group),
		.help = "its members may remove, pin and prolong tasks of others, as root may"},
	{"local", "broker_socket", CONF_STRING, AT(broker_socket),
		.help = "socket of dfdaemon-broker, which opens paths as the caller; when empty, broker_program is started for each path"},
	{"local", "broker_program", CONF_STRING, AT(broker_program),
		.help = "dfdaemon-broker; when empty, the one beside dfdaemon's executable, else the installed one"},
	{"local", "export_link", CONF_BOOL, AT(export_link), .def = "no",
		.help = "exports to a path try a hard link first, as the documented dfcache does; such an output is read-only and belongs to the cache"},

	{"peer", "listen", CONF_STRING, AT(listen),
		.help = "address to listen at for peers; all when empty. The advertised one is followed when that changes"},
	{"peer", "port", CONF_U64, AT(port), 1, 65535, "4000", NULL,
		"TCP port of the gRPC services"},
	{"peer", "piece_port", CONF_U64, AT(piece_port), 1, 65535, "4005", NULL,
		"TCP port of the piece server"},
	{"peer", "peers", CONF_LIST, AT(peers),
		.help = "other peers: host:port, address:port, or a DNS name with several addresses; one live peer is enough to find the rest"},
	{"peer", "peer_networks", CONF_LIST, AT(peer_networks),
		.help = "networks whose hosts may join and ask for changes, besides the listed peers and schedulers: 10.0.0.0/8"},
	{"peer", "scheduler", CONF_ENUM, AT(scheduler), .def = "embedded",
		.help = "who schedules: the peers themselves, or the schedulers of a Dragonfly cluster",
		.names = scheduler_names},
	{"peer", "schedulers", CONF_LIST, AT(schedulers),
		.help = "Dragonfly's schedulers, host:port; a DNS name stands for all its addresses. Looked up and asked for their health every resolve_interval"},
	{"peer", "scheduler_ring", CONF_ENUM, AT(scheduler_ring), .def = "names",
		.help = "how tasks are spread over several schedulers; all peers of a cluster must agree. names: as Dragonfly's clients do from 1.5.9 on; addresses: as they did up to 1.5.7",
		.names = ring_names},
	{"peer", "disable_shared", CONF_BOOL, AT(disable_shared), .def = "no",
		.help = "serve no pieces and hold no replicas for others"},
	{"peer", "heartbeat", CONF_DURATION, AT(heartbeat_ns), 100 * (SECOND / 1000), 60 * SECOND,
		"3s", NULL,
		"between two messages to each peer; a peer is lost after three missed ones"},
	{"peer", "resolve_interval", CONF_DURATION, AT(resolve_ns), SECOND, DAY, "30s", NULL,
		"between two look-ups of the names in peers and schedulers"},
	{"peer", "announce_interval", CONF_DURATION, AT(announce_ns), SECOND, DAY, "30s", NULL,
		"between two reports about this host"},
	{"peer", "leave_grace", CONF_DURATION, AT(leave_grace_ns), 0, DAY, "30s", NULL,
		"how long the replicas of a peer that stopped in order are awaited before they are replaced"},

	{"tls", "ca_cert", CONF_STRING, AT(tls_ca),
		.help = "PEM file with the CA of all peers. With cert and key: peers talk by mutual TLS only, and plaintext is refused"},
	{"tls", "cert", CONF_STRING, AT(tls_cert),
		.help = "PEM file with the certificate of this peer, and its intermediates"},
	{"tls", "key", CONF_STRING, AT(tls_key),
		.help = "PEM file with its private key, not readable for others"},
	{"tls", "peer_name", CONF_STRING, AT(tls_name),
		.help = "DNS name that every peer's certificate has; when empty, each must have the address that is dialled"},
	{"tls", "pieces", CONF_BOOL, AT(tls_pieces), .def = "yes",
		.help = "pieces travel by TLS too; no: beside Dragonfly's own peers, which cannot"},
	{"tls", "check_interval", CONF_DURATION, AT(tls_check_ns), SECOND / 10, DAY, "60s", NULL,
		"between two looks whether certificate files were renewed (SIGHUP: at once)"},
	{"scheduler_tls", "ca_cert", CONF_STRING, AT(scheduler_ca),
		.help = "CA of Dragonfly's schedulers. With cert and key: they are dialled by mutual TLS"},
	{"scheduler_tls", "cert", CONF_STRING, AT(scheduler_cert),
		.help = "certificate that they are shown"},
	{"scheduler_tls", "key", CONF_STRING, AT(scheduler_key), .help = "its private key"},

	{"manager", "address", CONF_STRING, AT(manager),
		.help = "manager of the Dragonfly cluster, host:port: it names the schedulers, instead of the list in schedulers"},
	{"manager", "cluster_id", CONF_U64, AT(manager_cluster), 0, INT64_MAX, "0", NULL,
		"id of the scheduler cluster that is wanted; 0: the manager chooses"},
	{"manager", "refresh_interval", CONF_DURATION, AT(manager_refresh_ns), SECOND, DAY, "60s",
		NULL, "between two questions to the manager"},
	{"manager", "ca_cert", CONF_STRING, AT(manager_ca),
		.help = "CA of the manager. With cert and key: it is dialled by mutual TLS"},
	{"manager", "cert", CONF_STRING, AT(manager_cert), .help = "certificate that it is shown"},
	{"manager", "key", CONF_STRING, AT(manager_key), .help = "its private key"},

	{"store", "socket", CONF_STRING, AT(store_socket), .def = "/run/cachefilesd/store.sock",
		.help = "cachefilesd's socket"},

	{"import", "task_id", CONF_ENUM, AT(task_id), .def = "auto",
		.help = "form of ids: crc32 as dfcache's documentation says (with the embedded scheduler), or sha256 (with Dragonfly's)",
		.names = task_id_names},
	{"import", "default_ttl", CONF_DURATION, AT(default_ttl_ns), SECOND, 0, "1day", NULL,
		"ttl of imports that give none"},
	{"import", "min_ttl", CONF_DURATION, AT(min_ttl_ns), SECOND, 0, "1m", NULL,
		"shortest ttl that is accepted"},
	{"import", "max_ttl", CONF_DURATION, AT(max_ttl_ns), 0, 0, "7days", NULL,
		"longest ttl that is accepted; 0: any"},
	{"import", "max_replicas", CONF_U64, AT(max_replicas), 1, 1000, "64", NULL,
		"most replicas that an import may ask for"},
	{"import", "max_imports", CONF_U64, AT(max_imports), 1, 1000, "16", NULL,
		"imports at once; more are refused"},

	{"download", "concurrent_pieces", CONF_U64, AT(concurrent_pieces), 1, 64, "8", "pieces",
		"requests at once for each download"},
	{"download", "progress_timeout", CONF_DURATION, AT(progress_timeout_ns), SECOND, DAY, "30s",
		NULL, "a download that receives no byte for so long fails"},
	{"download", "room_timeout", CONF_DURATION, AT(room_timeout_ns), 0, DAY, "30s", NULL,
		"how long an import or download waits for culling to make room"},
	{"download", "max_downloads", CONF_U64, AT(max_downloads), 1, 1000, "64", NULL,
		"tasks fetched at once; more are refused"},
	{"download", "bandwidth", CONF_SIZE, AT(download_bandwidth), 0, 0, "0", "bytes per second",
		"most that is received from peers; 0: no limit"},
	{"download", "replica_bandwidth", CONF_SIZE, AT(replica_bandwidth), 0, 0, "0",
		"bytes per second",
		"most of it that goes into replicas, for which nobody waits here; 0: no limit of its own"},

	{"upload", "slots", CONF_U64, AT(slots), 1, 1024, "8", NULL,
		"pieces sent at once; further peers of our kind are told that this one is busy, others wait"},
	{"upload", "max_connections", CONF_U64, AT(max_connections), 1, 65536, "512", NULL,
		"connections to the piece server"},
	{"upload", "bandwidth", CONF_SIZE, AT(upload_bandwidth), 0, 0, "0", "bytes per second",
		"most that is sent to peers, in equal shares for those who want it; 0: no limit"},

	{"metrics", "listen", CONF_STRING, AT(metrics_listen), .def = "127.0.0.1",
		.help = "address of the metrics page"},
	{"metrics", "port", CONF_U64, AT(metrics_port), 0, 65535, "4002", NULL,
		"TCP port of the metrics page (GET /metrics, Prometheus text); 0: none"},
	{"health", "listen", CONF_STRING, AT(health_listen), .def = "127.0.0.1",
		.help = "address of the health page"},
	{"health", "port", CONF_U64, AT(health_port), 0, 65535, "4003", NULL,
		"TCP port of the health page (GET /healthy); 0: none"},

	{"daemon", "loop", CONF_STRING, AT(loop), .def = "auto", .help = "auto, io_uring or epoll"},
	{"daemon", "workers", CONF_U64, AT(workers), 1, 64, "4", "threads",
		"for hashing and blocking file work"},
	{"daemon", "buffer", CONF_SIZE, AT(buffer_bytes), 16384, 16 << 20, "512KiB", "bytes",
		"memory for each piece that is being fetched"},
	{"daemon", "buffer_memory", CONF_SIZE, AT(buffer_memory_bytes), 16384, 0, "32MiB", "bytes",
		"memory for all pieces that are being fetched; downloads share it"},
	{"daemon", "log_level", CONF_STRING, AT(log_level), .def = "info",
		.help = "error, warn, info or debug"},
	{"daemon", "log_file", CONF_STRING, AT(log_file),
		.help = "file to log to; standard error when empty (the journal, under systemd)"},
};
const size_t config_n_options = ARRAY_SIZE(config_options);

int config_init(struct config *c)
{
	memset(c, 0, sizeof(*c));
	return conf_defaults(config_options, config_n_options, c);
}

void config_fini(struct config *c)
{
	conf_fini(config_options, config_n_options, c);
}

int config_parse(struct config *c, const char *file, char *text, size_t len, struct buf *errors)
{
	conf_drop_section(text, len, "dfcache");
	return conf_parse(config_options, config_n_options, c, file, text, len, NULL, errors);
}

int config_set(struct config *c, const char *assignment, char *reason)
{
	const char *dot = strchr(assignment, '.'), *eq = strchr(assignment, '=');

	if (!dot || !eq || dot > eq) {
		snprintf(reason, NUM_REASON, "\"%.60s\" is not section.key=value", assignment);
		return -EINVAL;
	}
	for (size_t i = 0; i < config_n_options; i++) {
		const struct conf_option *o = &config_options[i];

		if (strlen(o->section) == (size_t)(dot - assignment) &&
			!strncmp(o->section, assignment, (size_t)(dot - assignment)) &&
			strlen(o->key) == (size_t)(eq - dot - 1) &&
			!strncmp(o->key, dot + 1, (size_t)(eq - dot - 1)))
			return conf_set(o, c, eq + 1, reason);
	}
	snprintf(reason, NUM_REASON, "there is no option \"%.*s\"",
		eq - assignment < 60 ? (int)(eq - assignment) : 60, assignment);
	return -EINVAL;
}

int config_mode(const char *text, unsigned *mode)
{
	char *end;
	unsigned long v = strtoul(text, &end, 8);

	if (!*text || *end || v > 0777 || *text == '-' || *text == '+' || *text == ' ')
		return -EINVAL;
	*mode = (unsigned)v;
	return 0;
}

static int complain(struct buf *errors, const char *text)
{
	buf_addf(errors, "%s\n", text);
	return 1;
}

/* check_tls - all three files or none */
static int check_tls(
	struct buf *errors, const char *section, const char *a, const char *b, const char *c)
{
	unsigned n = (a && *a) + (b && *b) + (c && *c);

	if (n == 0 || n == 3)
		return 0;
	buf_addf(errors, "[%s] ca_cert, cert and key go together: %u of them are given\n", section,
		n);
	return 1;
}

int config_check(const struct config *c, struct buf *errors)
{
	unsigned mode;
	int n = 0;

	if (config_mode(c->socket_mode, &mode) < 0)
		n += complain(errors, "[local] socket_mode is not an octal mode such as 0660");
	if (!*c->socket || *c->socket != '/')
		n += complain(errors, "[local] socket must be an absolute path");
	if (c->port == c->piece_port)
		n += complain(errors, "[peer] port and piece_port must differ");
	if (c->scheduler == CONFIG_DRAGONFLY &&
		!config_list_n(c->schedulers) == !(c->manager && *c->manager))
		n += complain(errors, "[peer] scheduler = dragonfly needs either schedulers or "
				      "[manager] address");
	if (c->scheduler == CONFIG_EMBEDDED && c->manager && *c->manager)
		n += complain(errors, "[manager] address is given but [peer] scheduler = embedded");
	if (c->scheduler == CONFIG_EMBEDDED && config_list_n(c->schedulers))
		n += complain(errors,
			"[peer] schedulers are given but scheduler = embedded; set scheduler = "
			"dragonfly or take them out");
	n += check_tls(errors, "tls", c->tls_ca, c->tls_cert, c->tls_key);
	n += check_tls(
		errors, "scheduler_tls", c->scheduler_ca, c->scheduler_cert, c->scheduler_key);
	if (c->buffer_memory_bytes / c->buffer_bytes < c->max_downloads)
		n += complain(errors,
			"[daemon] buffer_memory is less than one buffer for each of [download] "
			"max_downloads");
	if (c->max_ttl_ns && c->max_ttl_ns < c->min_ttl_ns)
		n += complain(errors, "[import] max_ttl is shorter than min_ttl");
	if (c->default_ttl_ns < c->min_ttl_ns ||
		(c->max_ttl_ns && c->default_ttl_ns > c->max_ttl_ns))
		n += complain(errors, "[import] default_ttl is not between min_ttl and max_ttl");
	if (strcmp(c->loop, "auto") != 0 && strcmp(c->loop, "io_uring") != 0 &&
		strcmp(c->loop, "epoll") != 0)
		n += complain(errors, "[daemon] loop must be auto, io_uring or epoll");
	if (log_level_parse(c->log_level) < 0)
		n += complain(errors, "[daemon] log_level must be error, warn, info or debug");
	return n;
}

/* the rooms take new values of these while they work; everything else needs a restart */
static const char *const changeable[] = {"host.idc", "host.location", "local.export_link",
	"peer.peers", "peer.peer_networks", "peer.disable_shared", "peer.announce_interval",
	"import.default_ttl", "import.min_ttl", "import.max_ttl", "import.max_replicas",
	"import.max_imports", "download.progress_timeout", "download.room_timeout",
	"download.max_downloads", "upload.bandwidth", "daemon.log_level"};

static bool is_changeable(const struct conf_option *o)
{
	char name[80];

	snprintf(name, sizeof(name), "%s.%s", o->section, o->key);
	for (size_t i = 0; i < ARRAY_SIZE(changeable); i++)
		if (!strcmp(changeable[i], name))
			return true;
	return false;
}

static void swap_value(const struct conf_option *o, struct config *a, struct config *b)
{
	static const size_t sizes[] = {
		[CONF_STRING] = sizeof(char *),
		[CONF_BOOL] = sizeof(bool),
		[CONF_U64] = sizeof(uint64_t),
		[CONF_SIZE] = sizeof(uint64_t),
		[CONF_DURATION] = sizeof(uint64_t),
		[CONF_ENUM] = sizeof(int),
		[CONF_LIST] = sizeof(char *),
	};
	char kept[sizeof(uint64_t)], *x = (char *)a + o->offset, *y = (char *)b + o->offset;

	memcpy(kept, x, sizes[o->type]);
	memcpy(x, y, sizes[o->type]);
	memcpy(y, kept, sizes[o->type]);
}

void config_take(struct config *c, struct config *next, struct buf *taken, struct buf *kept)
{
	for (size_t i = 0; i < config_n_options; i++) {
		const struct conf_option *o = &config_options[i];
		_cleanup_buf_ struct buf is = {0}, will = {0};
		struct buf *list = is_changeable(o) ? taken : kept;

		conf_format(o, c, &is);
		conf_format(o, next, &will);
		if (!strcmp(buf_str(&is), buf_str(&will)))
			continue;
		buf_addf(list, "%s.%s = %s\n", o->section, o->key, buf_str(&will));
		if (list == taken)
			swap_value(o, c, next);
	}
}

void config_dump(const struct config *c, struct buf *out)
{
	const char *section = "";

	for (size_t i = 0; i < config_n_options; i++) {
		const struct conf_option *o = &config_options[i];

		if (strcmp(section, o->section) != 0)
			buf_addf(out, "%s[%s]\n", i ? "\n" : "", o->section);
		section = o->section;
		buf_addf(out, "# %s%s%s%s\n%s = ", o->help, o->unit ? " (" : "",
			o->unit ? o->unit : "", o->unit ? ")" : "", o->key);
		conf_format(o, c, out);
		buf_addc(out, '\n');
	}
}

bool config_list(const char *list, size_t i, char *out, size_t cap)
{
	const char *end;

	while (list && i--) {
		list = strchr(list, ',');
		if (list)
			list++;
	}
	if (!list || !*list)
		return false;
	end = strchrnul(list, ',');
	snprintf(out, cap, "%.*s", (int)(end - list), list);
	return true;
}

size_t config_list_n(const char *list)
{
	size_t n = list && *list ? 1 : 0;

	for (; list && *list; list++)
		n += *list == ',';
	return n;
}
