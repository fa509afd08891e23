#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# our .proto files against the published definitions of the API

bats_require_minimum_version 1.5.0

setup()
{
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || [ ! -x "$PYTHON" ]; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
	command -v protoc >/dev/null || skip "no protoc"
	cd "$BATS_TEST_TMPDIR" || return 1
}

compile() # SET PROTO...: descriptors of files relative to $TOP
{
	local set=$1
	shift
	(cd "$TOP" && protoc -I. --include_imports --descriptor_set_out="$set" "$@")
}

@test "every field, enum value and method that we name is published with the same number and type" {
	compile "$PWD/ours.set" p2p/api/common.proto p2p/api/dfdaemon.proto p2p/api/scheduler.proto
	run "$PYTHON" "$TOP/tests/interop/check_schema.py" ours.set
	echo "$output"
	[ "$status" -ne 4 ] || skip "${lines[-1]#SKIP: }"
	[ "$status" -eq 0 ]
	[[ "${lines[-1]}" == *" 0 differences" ]]
}

@test "the comparison notices a wrong number, type, label and name" {
	mkdir -p copy/p2p/api
	cp "$TOP"/p2p/api/*.proto copy/p2p/api
	sed -i 's/optional string hostname = 3;/optional string hostname = 33;/
		s/optional uint32 type = 2;/optional uint64 type = 2;/' copy/p2p/api/common.proto
	sed -i 's/repeated uint32 interested_piece_numbers/optional uint32 interested_piece_numbers/
		s/ \[packed = true\]//
		s/optional bool need_piece_content/optional bool wants_piece_content/' copy/p2p/api/dfdaemon.proto
	(cd copy && protoc -I. --include_imports --descriptor_set_out=../wrong.set p2p/api/dfdaemon.proto)
	run "$PYTHON" "$TOP/tests/interop/check_schema.py" wrong.set
	echo "$output"
	[ "$status" -ne 4 ] || skip "${lines[-1]#SKIP: }"
	[ "$status" -eq 1 ]
	[[ "$output" == *"common.v2.Host.hostname: number 33, published 3"* ]]
	[[ "$output" == *"common.v2.Host.type: type"* ]]
	[[ "$output" == *"interested_piece_numbers: repeated False, published True"* ]]
	[[ "$output" == *"wants_piece_content: no such field is published"* ]]
}
