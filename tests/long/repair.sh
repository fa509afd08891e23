#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1800
# repair.sh - two of three holders die, three times (TAP); tests/bench/repair.sh does it twenty times
set -u
# shellcheck source-path=SCRIPTDIR source=../lib/repair.bash
. "$TOP/tests/lib/repair.bash"
why=$(netns_possible) || { echo "1..0 # SKIP $why"; exit 4; }
set -o pipefail
echo 1..1
if repair_runs "${REPAIR_RUNS:-3}" "${REPAIR_SEED:-1}" | sed -u 's/^/# /'; then
	echo "ok 1 - deaths are noticed within 10 s and repaired within 1.3 times the time of sending"
else
	echo "not ok 1 - deaths are noticed within 10 s and repaired within 1.3 times the time of sending"
	exit 1
fi
