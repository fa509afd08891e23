#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# pieces on loopback beside a plain sendfile/recv loop
exec "$BUILD/tests/bench_vortex" "${MIB:-1024}" "${ROUNDS:-5}" "${AT_ONCE:-4}"
