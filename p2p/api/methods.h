/* SPDX-License-Identifier: GPL-2.0-or-later */
/* methods.h — paths of the methods, and the metadata keys of our own that ride on them.
 * Source: dragonfly-grpc.md §2; dfcachefiles.proto.
 */
#ifndef P2P_API_METHODS_H
#define P2P_API_METHODS_H

#define SERVICE_DFDAEMON_DOWNLOAD "dfdaemon.v2.DfdaemonDownload"
#define SERVICE_DFDAEMON_UPLOAD   "dfdaemon.v2.DfdaemonUpload"
#define SERVICE_SCHEDULER         "scheduler.v2.Scheduler"
#define SERVICE_MANAGER           "manager.v2.Manager"
#define SERVICE_INVENTORY         "dfcachefiles.v1.Inventory"
#define SERVICE_LOCAL             "dfcachefiles.v1.Local"

/* the unix socket */
#define METHOD_LOCAL_UPLOAD      "/" SERVICE_DFDAEMON_DOWNLOAD "/UploadPersistentCacheTask"
#define METHOD_LOCAL_DOWNLOAD    "/" SERVICE_DFDAEMON_DOWNLOAD "/DownloadPersistentCacheTask"
#define METHOD_LOCAL_STAT        "/" SERVICE_DFDAEMON_DOWNLOAD "/StatPersistentCacheTask"
#define METHOD_LOCAL_STAT_LOCAL  "/" SERVICE_DFDAEMON_DOWNLOAD "/StatLocalPersistentCacheTask"
#define METHOD_LOCAL_LIST_LOCAL  "/" SERVICE_DFDAEMON_DOWNLOAD "/ListLocalPersistentCacheTasks"
#define METHOD_LOCAL_DELETE_HOST "/" SERVICE_DFDAEMON_DOWNLOAD "/DeleteHost"
#define METHOD_LOCAL_LIST        "/" SERVICE_LOCAL "/List"
#define METHOD_LOCAL_INSPECT     "/" SERVICE_LOCAL "/Inspect"
#define METHOD_LOCAL_REMOVE      "/" SERVICE_LOCAL "/Remove"
#define METHOD_LOCAL_PIN         "/" SERVICE_LOCAL "/Pin"
#define METHOD_LOCAL_SET_TTL     "/" SERVICE_LOCAL "/SetTtl"

/* the manager of a Dragonfly cluster */
#define METHOD_LIST_SCHEDULERS "/" SERVICE_MANAGER "/ListSchedulers"

/* TCP: peers and schedulers */
#define METHOD_PEER_DOWNLOAD    "/" SERVICE_DFDAEMON_UPLOAD "/DownloadPersistentCacheTask"
#define METHOD_PEER_UPDATE      "/" SERVICE_DFDAEMON_UPLOAD "/UpdatePersistentCacheTask"
#define METHOD_PEER_STAT        "/" SERVICE_DFDAEMON_UPLOAD "/StatPersistentCacheTask"
#define METHOD_PEER_DELETE      "/" SERVICE_DFDAEMON_UPLOAD "/DeletePersistentCacheTask"
#define METHOD_PEER_SYNC_PIECES "/" SERVICE_DFDAEMON_UPLOAD "/SyncPersistentCachePieces"
#define METHOD_PEER_SYNC_HOST   "/" SERVICE_DFDAEMON_UPLOAD "/SyncHost"
#define METHOD_INVENTORY        "/" SERVICE_INVENTORY "/Exchange"
#define METHOD_INVENTORY_OWNED  "/" SERVICE_INVENTORY "/Owned"

#define METHOD_SCHED_ANNOUNCE_HOST   "/" SERVICE_SCHEDULER "/AnnounceHost"
#define METHOD_SCHED_LIST_HOSTS      "/" SERVICE_SCHEDULER "/ListHosts"
#define METHOD_SCHED_DELETE_HOST     "/" SERVICE_SCHEDULER "/DeleteHost"
#define METHOD_SCHED_ANNOUNCE_PEER   "/" SERVICE_SCHEDULER "/AnnouncePersistentCachePeer"
#define METHOD_SCHED_STAT_PEER       "/" SERVICE_SCHEDULER "/StatPersistentCachePeer"
#define METHOD_SCHED_DELETE_PEER     "/" SERVICE_SCHEDULER "/DeletePersistentCachePeer"
#define METHOD_SCHED_UPLOAD_STARTED  "/" SERVICE_SCHEDULER "/UploadPersistentCacheTaskStarted"
#define METHOD_SCHED_UPLOAD_FINISHED "/" SERVICE_SCHEDULER "/UploadPersistentCacheTaskFinished"
#define METHOD_SCHED_UPLOAD_FAILED   "/" SERVICE_SCHEDULER "/UploadPersistentCacheTaskFailed"
#define METHOD_SCHED_STAT_TASK       "/" SERVICE_SCHEDULER "/StatPersistentCacheTask"
#define METHOD_SCHED_DELETE_TASK     "/" SERVICE_SCHEDULER "/DeletePersistentCacheTask"

/* Metadata between dfcache and dfdaemon (unix) */
#define META_SOURCE_FD "dfcachefiles-source-fd" /* request: index of a passed descriptor */
#define META_OUTPUT_FD "dfcachefiles-output-fd"
#define META_PLACED    "dfcachefiles-placed" /* trailer: reflink, copy or hardlink */
#define META_REPLICAS  "dfcachefiles-replicas" /* trailer: counted replicas that exist */

/* Metadata between our own peers: what the embedded scheduler knows beyond Dragonfly's messages.
 * Requests of UploadPersistentCacheTaskStarted and register carry them, replies about a task have
 * them as trailers; whoever does not know them ignores them. */
#define META_GENERATION  "dfcachefiles-generation" /* decimal */
#define META_FINGERPRINT "dfcachefiles-fingerprint" /* 32 hex digits */
#define META_UID         "dfcachefiles-uid" /* decimal, the importer's */
#define META_EXPIRES_IN  "dfcachefiles-expires-in-ms" /* decimal; a moment without clocks */
#define META_BUSY_AWARE  "dfcachefiles-busy" /* SyncPieces: understands busy, early announcement */

/* W3C Trace Context: what the caller of an import or export sends goes on to scheduler and parents */
#define META_TRACE "traceparent"

/* build.git_version of a host of our kind begins with this */
#define HOST_VERSION_PREFIX "dfcachefiles/"

#endif
