/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.h — dfdaemon's part of /etc/dragonfly/dfcache.conf: text to a typed struct, one table row
 * for each option (parser, --help and --dump-config are made of it, the manual is compared with it). Opens nothing.
 * The section [dfcache] of the same file is dfcache's and is not looked at.
 */
#ifndef P2P_CONFIG_H
#define P2P_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"

struct buf;

#define CONFIG_PATH "/etc/dragonfly/dfcache.conf"

enum config_scheduler { CONFIG_EMBEDDED, CONFIG_DRAGONFLY };
enum config_ring { CONFIG_RING_NAMES, CONFIG_RING_ADDRESSES };
enum config_task_id { CONFIG_ID_AUTO, CONFIG_ID_CRC32, CONFIG_ID_SHA256 };

struct config {
	/* [host] */
	char *hostname, *ip, *idc, *location;
	/* [local] */
	char *socket, *socket_mode, *socket_group, *admin_group;
	char *broker_socket, *broker_program;
	bool export_link;
	/* [peer] */
	char *listen, *peers, *peer_networks, *schedulers;
	uint64_t port, piece_port;
	int scheduler, scheduler_ring;
	bool disable_shared;
	uint64_t heartbeat_ns, resolve_ns, announce_ns, leave_grace_ns;
	/* [tls], [scheduler_tls] */
	char *tls_ca, *tls_cert, *tls_key, *tls_name;
	bool tls_pieces;
	uint64_t tls_check_ns;
	char *scheduler_ca, *scheduler_cert, *scheduler_key;
	/* [manager] */
	char *manager, *manager_ca, *manager_cert, *manager_key;
	uint64_t manager_cluster, manager_refresh_ns;
	/* [store] */
	char *store_socket;
	/* [import] */
	int task_id;
	uint64_t default_ttl_ns, min_ttl_ns, max_ttl_ns, max_replicas, max_imports;
	/* [download] */
	uint64_t concurrent_pieces, progress_timeout_ns, room_timeout_ns, max_downloads;
	uint64_t download_bandwidth, replica_bandwidth;
	/* [upload] */
	uint64_t slots, max_connections, upload_bandwidth;
	/* [metrics], [health] */
	char *metrics_listen, *health_listen;
	uint64_t metrics_port, health_port;
	/* [daemon] */
	char *loop, *log_level, *log_file;
	uint64_t workers, buffer_bytes, buffer_memory_bytes;
};

extern const struct conf_option config_options[];
extern const size_t config_n_options;

int config_init(struct config *c); /* the defaults; 0 or -ENOMEM */
void config_fini(struct config *c);
/* config_parse - @text (changed in place) over what is in @c. 0, or the number of errors (lines in
 * @errors), or -ENOMEM. */
int config_parse(struct config *c, const char *file, char *text, size_t len, struct buf *errors);
/* config_set - "section.key=value", as from a command line; -EINVAL with @reason (NUM_REASON) */
int config_set(struct config *c, const char *assignment, char *reason);
/* config_check - what no single option can tell; number of errors, each a line in @errors */
int config_check(const struct config *c, struct buf *errors);
/* config_take - options of @c that a running daemon can change take their values from @next (and the
 * other way round). @taken and @kept: those that differ, lines "section.key = value", of @next. */
void config_take(struct config *c, struct config *next, struct buf *taken, struct buf *kept);
/* config_dump - every option as the file would have it, with its help as a comment */
void config_dump(const struct config *c, struct buf *out);

/* config_list - item @i of a LIST value into @out; false when there are not so many */
bool config_list(const char *list, size_t i, char *out, size_t cap);
size_t config_list_n(const char *list);
/* config_mode - "0660" as a number; -EINVAL */
int config_mode(const char *text, unsigned *mode);

#endif
