#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# cull-quality.sh - hit rates of the combined order of both tenants on three traces (Zipf, scans over a popular
# set, checkpoint rotation), beside one ideal LRU cache and the offline optimum
set -eu
dir=$(mktemp -d -p /dev/shm 2>/dev/null) || dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$BUILD/tests/bin/cull_quality" "$dir"
