#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# repair.sh - how soon replicas are back when two of three holders die, twenty times
PATH=$BUILD/bin:$PATH REPAIR_RUNS=20 exec "$TOP/tests/long/repair.sh"
