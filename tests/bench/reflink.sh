#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# reflink.sh — 100 GiB, sparse, exported by reflink and by hard link in at most 50 ms; needs root
EXPORT_TIMED=1 PATH=$BUILD/bin:$PATH exec bats "$TOP/tests/bats/40-dfcache-reflink.bats"
