#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# sched.sh - the embedded scheduler with 64 peers and 10 000 tasks: memory, answers (99 % within 5 ms), an owner's death
SCHED_P99_US=5000 exec "$TOP/tests/long/sched-64.sh"
