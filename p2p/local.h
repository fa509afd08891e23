/* SPDX-License-Identifier: GPL-2.0-or-later */
/* local.h — what is here, told to the scheduler; and what the cluster decides about it, done here.
 *
 * The store is the truth: it is listed when its session begins and once in a while (it culls by
 * itself), every copy is told to the scheduler, and what has gone is taken back. Import and fetch tell
 * their own changes at once. The other direction are the orders of the embedded scheduler
 * (scheduler_ops): drop a copy, change an expiry.
 */
#ifndef P2P_LOCAL_H
#define P2P_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"
#include "p2p/attrs.h"
#include "p2p/sched.h"
#include "p2p/scheduler/scheduler.h"
#include "p2p/status.h"

struct local;
struct loop;
struct tasks;

int local_new(struct local **out, struct loop *l, struct store_client *store, struct tasks *tasks);
/* local_set_sched - who is told; before the loop runs. (The scheduler needs local's functions for
 * its orders, and local needs the scheduler: the one cycle in the composition.) */
void local_set_sched(struct local *lc, struct sched *s);
void local_close(struct local *lc);
bool local_is_idle(const struct local *lc);
struct local *local_free(struct local *lc); /* idle only; returns NULL */
void local_on_store_event(struct local *lc, enum store_event e);
/* local_watch_space - @fn is told the space of the cache's file system: in all, and what an import
 * may still take (above the culling limit); each time that the store tells it */
void local_watch_space(struct local *lc,
	void (*fn)(void *arg, uint64_t total_bytes, uint64_t available_bytes), void *arg);
size_t local_n_tasks(const struct local *lc);

/* local_told - import or fetch changed something. @l as for sched_local_put(). A COMPLETE one is
 * re-read from the store at the next listing only if it differs. */
void local_told(struct local *lc, const struct sched_local *l);
void local_gone(struct local *lc, const char *id);

/* The orders, in the form of scheduler_ops (arg is the struct local). */
void local_drop(void *arg, const char *id, uint64_t generation, enum scheduler_drop reason,
	const char *why);
void local_set_expiry(void *arg, const char *id, uint64_t in_ns);

/* One change asked for by a user or peer, answered from the loop; fn is called once. */
struct local_change;
typedef void (*local_change_fn)(void *arg, const struct outcome *why);
/* all: NULL when out of memory (fn not called) */
struct local_change *local_delete(
	struct local *lc, const char *id, const char *why, local_change_fn fn, void *arg);
struct local_change *local_pin(
	struct local *lc, const char *id, bool pin, local_change_fn fn, void *arg);
/* local_keep - as local_pin, by a user: noted in the attributes, so that the cluster does not take
 * the pin off as surplus */
struct local_change *local_keep(
	struct local *lc, const char *id, bool keep, local_change_fn fn, void *arg);
struct local_change *local_expire(
	struct local *lc, const char *id, uint64_t expires_ns, local_change_fn fn, void *arg);
/* local_prolong - as local_expire, unless it lives longer already (0 = never expires) */
struct local_change *local_prolong(
	struct local *lc, const char *id, uint64_t expires_ns, local_change_fn fn, void *arg);
void local_change_forget(struct local_change *c); /* fn is not called any more */

/* wall clock <-> "from now", with UINT64_MAX and 0 for never */
uint64_t local_wall_ns(void);
uint64_t local_expires_in(uint64_t expires_ns);
uint64_t local_expires_at(uint64_t in_ns);

#endif
