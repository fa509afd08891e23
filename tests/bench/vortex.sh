#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# pieces from one network namespace to another (on loopback without root), beside plain loops of
# system calls in the same run
# shellcheck source-path=SCRIPTDIR source=../lib/netns.bash
. "$(dirname "$0")/../lib/netns.bash"
dir=$(mktemp -d)
trap 'netns_end; rm -rf "$dir"' EXIT
if why=$(netns_possible) && netns_begin "$dir" 2; then
	PARENT_NS=/run/netns/$(netns_name 1) CHILD_NS=/run/netns/$(netns_name 2) PARENT_IP=$(node_ip 1)
	CERT_SAN=IP:$(node_ip 1),IP:$(node_ip 2)
	export PARENT_NS CHILD_NS PARENT_IP CERT_SAN
	echo "# from one namespace to another"
else
	echo "# on loopback: $why"
fi
"${BUILD:-build}/tests/bench_vortex" "${MIB:-1024}" "${ROUNDS:-5}" "${AT_ONCE:-4}"
