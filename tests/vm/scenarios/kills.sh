# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest-options: --timeout 3600
# kills.sh — the soak with 200 random SIGKILLs of the daemon's processes; culling begins after 20 MiB, so
# that it is under way on slow machines, too.
KILLS=${KILLS:-200} SECONDS_LONG=${SECONDS_LONG:-60} LIMITS=${LIMITS:-96 94 55}
# shellcheck source=tests/vm/scenarios/soak.sh
. /scenario/soak.sh
