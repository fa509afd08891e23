#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store-model.sh - a million random operations of the store's index against its model (TAP). The test is in
# memory where there is a tmpfs: the syncs of the commits are not what is tested.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo 1..1
if TMPDIR=$dir STORE_MODEL_OPS=1000000 CMOCKA_MESSAGE_OUTPUT=TAP "$BUILD/tests/test_depot" >"$dir/out" 2>&1; then
	echo "ok 1 - 1000000 operations agree with the model: $(grep operations "$dir/out")"
else
	sed 's/^/# /' "$dir/out"
	echo "not ok 1 - 1000000 operations agree with the model"
	exit 1
fi
