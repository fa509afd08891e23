#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""check_schema.py - do our .proto files say the same as the published definitions?

    check_schema.py DESCRIPTOR_SET

DESCRIPTOR_SET is made by protoc --include_imports --descriptor_set_out from p2p/api/*.proto. Every
message, field, enum value and method that we name in the packages of Dragonfly must exist in the
Python package dragonfly-api with the same number, wire type and label. What only they have does
not matter. Prints one line per difference; exit status 1 if there is one, 4 if the package is missing.
"""
import importlib
import sys

OURS = ("common.v2", "dfdaemon.v2", "manager.v2", "scheduler.v2")


def load_published():
    """Import the generated modules of dragonfly-api; they register themselves in the default pool."""
    return [importlib.import_module(f"dragonfly_api.{name}_pb2").DESCRIPTOR
            for name in ("common", "dfdaemon", "manager", "scheduler")]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        files = load_published()
        from google.protobuf import descriptor_pb2, descriptor_pool
    except ImportError as e:
        print(f"SKIP: {e}")
        sys.exit(4)
    published = {f.package for f in files}
    missing = [p for p in OURS if p not in published]
    if missing:
        print(f"SKIP: dragonfly-api has no {', '.join(missing)}")
        sys.exit(4)

    ours = descriptor_pb2.FileDescriptorSet()
    with open(sys.argv[1], "rb") as f:
        ours.ParseFromString(f.read())
    theirs = descriptor_pool.Default()
    check = Check(theirs)
    for file in ours.file:
        if file.package in OURS:
            check.file(file)
    for line in check.differences:
        print(line)
    print(f"{check.n_fields} fields, {check.n_values} enum values and {check.n_methods} methods "
          f"compared, {len(check.differences)} differences")
    sys.exit(1 if check.differences or not check.n_fields or not check.n_methods else 0)


class Check:
    def __init__(self, pool):
        self.pool = pool
        self.differences = []
        self.n_fields = self.n_values = self.n_methods = 0

    def differ(self, where, what):
        self.differences.append(f"{where}: {what}")

    def file(self, file):
        for m in file.message_type:
            self.message(file.package, m)
        for e in file.enum_type:
            self.enum(file.package, e)
        for s in file.service:
            self.service(file.package, s)

    def message(self, package, m):
        name = f"{package}.{m.name}"
        try:
            other = self.pool.FindMessageTypeByName(name)
        except KeyError:
            self.differ(name, "no such message is published")
            return
        for f in m.field:
            self.field(name, m, f, other)

    def field(self, name, m, f, other):
        where = f"{name}.{f.name}"
        self.n_fields += 1
        o = other.fields_by_name.get(f.name)
        if o is None:
            self.differ(where, "no such field is published")
            return
        if o.number != f.number:
            self.differ(where, f"number {f.number}, published {o.number}")
        if o.type != f.type:
            self.differ(where, f"type {f.type}, published {o.type}")
        repeated = f.label == f.LABEL_REPEATED
        o_repeated = getattr(o, "is_repeated", None)
        if o_repeated is None:
            o_repeated = o.label == o.LABEL_REPEATED
        if repeated != o_repeated:
            self.differ(where, f"repeated {repeated}, published {o_repeated}")
        if f.type_name:
            target = o.message_type or o.enum_type
            if "." + target.full_name != f.type_name:
                self.differ(where, f"{f.type_name[1:]}, published {target.full_name}")
        if repeated and not f.type_name and f.type not in (f.TYPE_STRING, f.TYPE_BYTES):
            if not f.options.packed:
                self.differ(where, "not packed, as proto3 is")
        oneof = m.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else None
        o_oneof = o.containing_oneof.name if o.containing_oneof else None
        if o_oneof and o_oneof.startswith("_"):  # proto3 optional
            o_oneof = None
        if oneof != o_oneof:
            self.differ(where, f"in oneof {oneof}, published {o_oneof}")

    def enum(self, package, e):
        name = f"{package}.{e.name}"
        try:
            other = self.pool.FindEnumTypeByName(name)
        except KeyError:
            self.differ(name, "no such enum is published")
            return
        for v in e.value:
            self.n_values += 1
            o = other.values_by_name.get(v.name)
            if o is None or o.number != v.number:
                self.differ(f"{name}.{v.name}", f"{v.number}, published {o and o.number}")

    def service(self, package, s):
        name = f"{package}.{s.name}"
        try:
            other = self.pool.FindServiceByName(name)
        except KeyError:
            self.differ(name, "no such service is published")
            return
        from google.protobuf import descriptor_pb2

        copy = descriptor_pb2.ServiceDescriptorProto()
        other.CopyToProto(copy)
        methods = {m.name: m for m in copy.method}
        for m in s.method:
            self.n_methods += 1
            o = methods.get(m.name)
            where = f"{name}/{m.name}"
            if o is None:
                self.differ(where, "no such method is published")
                continue
            for what in ("input_type", "output_type", "client_streaming", "server_streaming"):
                if getattr(m, what) != getattr(o, what):
                    self.differ(where, f"{what} {getattr(m, what)}, published {getattr(o, what)}")


if __name__ == "__main__":
    main()
