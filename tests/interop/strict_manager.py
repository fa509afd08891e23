#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""strict_manager - plays the manager of a Dragonfly cluster, with schedulers of its own.

    strict_manager ADDRESS STATE [CA CERT KEY]   prints "ready" when it listens on ADDRESS, HOST:PORT;
                                                 with files, by mutual TLS

STATE is a JSON file, read again for every answer: {"schedulers": [{"ip", "port", "state", "cluster"}],
"client_config": TEXT, "serve": [ADDRESS]}. On each address in "serve" (read at the start) a scheduler answers
health checks and knows hosts and imports; it prints "import ADDRESS". Requests of peers are judged as the Go
side does; what is wrong is INVALID_ARGUMENT. Made of the published schemas and gRPC's own code.
"""
import ipaddress
import json
import re
import sys
from concurrent import futures

import grpc
from dragonfly_api import common_pb2 as common
from dragonfly_api import manager_pb2 as manager
from dragonfly_api import manager_pb2_grpc as manager_grpc
from dragonfly_api import scheduler_pb2_grpc as scheduler_grpc
from google.protobuf.empty_pb2 import Empty


class Manager(manager_grpc.ManagerServicer):
    def __init__(self, path):
        self.path = path

    def ListSchedulers(self, request, context):
        problem = None
        try:
            ipaddress.ip_address(request.ip)
        except ValueError:
            problem = "ip"
        if request.source_type != manager.PEER_SOURCE:
            problem = "source_type"
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", request.hostname):
            problem = "hostname"
        if not request.version or len(request.version) > 1024 or len(request.commit) > 1024:
            problem = "version"
        if problem:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid ListSchedulersRequest." + problem)
        with open(self.path, encoding="utf-8") as f:
            state = json.load(f)
        if "refuse" in state:
            context.abort(grpc.StatusCode.INTERNAL, state["refuse"])
        print("asked", request.hostname, request.idc, request.scheduler_cluster_id, flush=True)
        return manager.ListSchedulersResponse(schedulers=[
            manager.Scheduler(
                id=i + 1, hostname="s%d" % i, ip=s["ip"], port=s["port"], state=s["state"],
                scheduler_cluster_id=s["cluster"],
                scheduler_cluster=manager.SchedulerCluster(
                    id=s["cluster"], name="c%d" % s["cluster"], config=b'{"candidate_parent_limit":4}',
                    client_config=state.get("client_config", "{}").encode()))
            for i, s in enumerate(state["schedulers"])])


class Scheduler(scheduler_grpc.SchedulerServicer):
    def __init__(self, address):
        self.address = address

    def AnnounceHost(self, request, context):
        print("host", self.address, flush=True)
        return Empty()

    def DeleteHost(self, request, context):
        return Empty()

    def UploadPersistentCacheTaskStarted(self, request, context):
        return Empty()

    def UploadPersistentCacheTaskFinished(self, request, context):
        print("import", self.address, flush=True)
        return common.PersistentCacheTask(id=request.task_id, state="Succeeded",
                                          persistent_replica_count=1,
                                          current_persistent_replica_count=1)

    def UploadPersistentCacheTaskFailed(self, request, context):
        return Empty()


def health():
    """grpc.health.v1: a HealthCheckResponse that says SERVING, for the empty service name alone"""
    def check(request, context):
        if request:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x01"
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
        "Check": grpc.unary_unary_rpc_method_handler(check)})


def start(address, add, credentials):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    add(server)
    port = (server.add_secure_port(address, credentials) if credentials
            else server.add_insecure_port(address))
    if not port:
        sys.exit("cannot listen on " + address)
    server.start()
    return server


def main():
    credentials = None
    if len(sys.argv) > 3:
        ca, cert, key = (open(path, "rb").read() for path in sys.argv[3:6])
        credentials = grpc.ssl_server_credentials(
            [(key, cert)], root_certificates=ca, require_client_auth=True)
    with open(sys.argv[2], encoding="utf-8") as f:
        addresses = json.load(f)["serve"]
    servers = [start(sys.argv[1], lambda s: manager_grpc.add_ManagerServicer_to_server(
        Manager(sys.argv[2]), s), credentials)]
    for a in addresses:
        def add(s, address=a):
            scheduler_grpc.add_SchedulerServicer_to_server(Scheduler(address), s)
            s.add_generic_rpc_handlers((health(),))
        servers.append(start(a, add, credentials))
    print("ready", flush=True)
    servers[0].wait_for_termination()


main()
