#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: help, manual, completions and the option table say the same; what goes where, with which
# exit status
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup()
{
	unset DFCACHE_CONFIG
	export HOME=$BATS_TEST_TMPDIR
	cd "$BATS_TEST_TMPDIR"
}

commands()
{
	dfcache --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | grep -v '^help$'
}

options() # COMMAND: as its help has them
{
	dfcache "$1" -h | grep -oE -- '(^|[ ,])--[a-z][a-z-]+( <|  |$)' | grep -oE -- '--[a-z-]+' | sort -u
}

@test "the manual has every option of every command, and no other" {
	local c
	for c in $(commands); do
		[ "$c" != completion ] || continue
		diff <(options "$c") <(awk -v c="$c" '
			/^\.Ss / { on = $0 == ".Ss dfcache " c || ($0 == ".Ss Common options") }
			on && /^\.It Fl/ { print }' "$TOP/man/dfcache.1" |
			if [ "$c" = config ]; then grep -E 'json|-config|help'; else cat; fi |
			grep -oE 'Fl -[a-z-]+' | sed 's/Fl /-/' | sort -u)
	done
}

@test "the manual has each option of a command once" {
	awk '/^\.Ss / { s = $0 } /^\.It Fl/ { print s ": " $0 }' "$TOP/man/dfcache.1" |
		sed 's/: \.It.*Fl -\([a-z-]*\).*/ --\1/' | sort >all
	[ -s all ]
	run -0 uniq -d all
	[ -z "$output" ]
}

@test "section dfcache of the file: each key once in the manual and in the shipped file, and no other" {
	local c
	for c in $(commands); do
		dfcache "$c" --help | tr -s ' \n' ' ' | grep -oE '\[file: [a-z_]+\]' | sed 's/.*: //; s/]//'
	done | sort -u >keys
	[ "$(wc -l <keys)" -gt 10 ]
	diff keys <(sed -n '/^\.Ss Section dfcache/,/^\.Sh/s/^\.It Cm \([a-z_]*\).*/\1/p' "$TOP/man/dfcache.conf.5" | sort)
	diff keys <(sed -n '/^\[dfcache\]/,$s/^;\([a-z_]*\) =.*/\1/p' "$TOP/conf/dfcache.conf" | sort)
}

@test "the manual has every command, and every exit status" {
	local c s
	for c in $(commands); do
		grep -q "^\.Ss dfcache $c\$" "$TOP/man/dfcache.1"
	done
	while read -r s; do
		sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/p' "$TOP/man/dfcache.1" | grep -q "^\.It $s\$"
	done < <(sed -n 's/.*EXIT_[A-Z_]* = \([0-9]*\),.*/\1/p' "$TOP/dfcache/exit.h")
}

@test "defaults in the manual are those of the table" {
	local d
	for d in 1h 30m 2h info /var/run/dragonfly/dfdaemon.sock; do
		grep -qF "$d" "$TOP/man/dfcache.1"
		for c in import export; do dfcache $c -h; done | tr -s ' \n' ' ' | grep -qF "[default: $d]"
	done
}

@test "bash completes commands, options and files by the table" {
	# shellcheck disable=SC1090
	source <(dfcache completion bash)
	complete_words() # WORDS...: as if the last one was being typed
	{
		COMP_WORDS=(dfcache "$@") COMP_CWORD=$# COMPREPLY=()
		_dfcache
		printf '%s\n' "${COMPREPLY[@]}" | sort -u
	}
	diff <(commands | sort) <(complete_words "" | grep -v '^-' | grep -v '^help$')
	local c
	for c in $(commands); do
		[ "$c" != completion ] || continue
		diff <(options "$c") <(complete_words "$c" -- | sort -u)
	done
	[ "$(complete_words export --over)" = --overwrite ]
	touch "$BATS_TEST_TMPDIR/a-file"
	[ "$(complete_words import "$BATS_TEST_TMPDIR/a-f")" = "$BATS_TEST_TMPDIR/a-file" ]
	[ "$(complete_words export -O "$BATS_TEST_TMPDIR/a-f")" = "$BATS_TEST_TMPDIR/a-file" ]
	[ -z "$(complete_words import --ttl "")" ]
	[ "$(complete_words completion z)" = zsh ]
}

@test "fish completes commands and options by the table" {
	command -v fish >/dev/null || skip "fish is not installed"
	local c
	dfcache completion fish >c.fish
	complete_words() # LINE: what fish offers at its end, without the descriptions
	{
		HOME=$BATS_TEST_TMPDIR fish -c "source c.fish; complete -C '$1'" | cut -f1 | sort -u
	}
	diff <(commands | sort) <(complete_words "dfcache " | grep -v '^help$')
	for c in $(commands); do
		[ "$c" != completion ] || continue
		diff <(options "$c") <(complete_words "dfcache $c --")
	done
	[ "$(complete_words "dfcache completion z")" = zsh ]
	touch a-file
	[ "$(complete_words "dfcache import a-f")" = a-file ]
	[ "$(complete_words "dfcache export -O a-f")" = a-file ]
	[ -z "$(complete_words "dfcache import --ttl ")" ]
}

@test "zsh completes commands and options by the table" {
	command -v zsh >/dev/null || skip "zsh is not installed"
	local c
	mkdir functions
	dfcache completion zsh >functions/_dfcache
	touch a-file
	# a terminal of zsh's own; what it would list is printed instead
	cat >complete.zsh <<-'EOF'
		zmodload zsh/zpty
		zpty z zsh -f -i
		zpty -w z 'PROMPT=; fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D'
		zpty -w z 'compadd() {'
		zpty -w z '  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi'
		zpty -w z '  local -a found; builtin compadd -O found "$@"; print -rl -- "<"${^found}">"'
		zpty -w z '}'
		zpty -w z 'stop() { print "<end>"; exit }'
		zpty -w z 'zle -C show complete-word show; show() { _main_complete; compstate[insert]= compstate[list]=; stop }'
		zpty -w z 'bindkey "^I" show; print "rea""dy"'
		zpty -r z line '*ready*'
		zpty -w -n z "$1"$'\t'
		zpty -r z line '*<end>*'
		print -r -- $line
	EOF
	complete_words() { timeout 60 zsh -f complete.zsh "$1" | grep -oa '<[^<>]*>' | tr -d '<>' | grep -v '^end$' | sort -u; }
	diff <(commands | sort) <(complete_words "dfcache " | sed 's/:.*//' | grep -v '^help$')
	for c in $(commands); do
		[ "$c" != completion ] || continue
		diff <(options "$c") <(complete_words "dfcache $c --" | sed 's/=$//' | sort -u)
	done
	[ "$(complete_words "dfcache completion z")" = zsh ]
	[ "$(complete_words "dfcache export -O a-f")" = a-file ]
}

@test "help goes to standard output, usage errors to standard error with status 2" {
	run -0 --separate-stderr dfcache --help
	[ -z "$stderr" ]
	run -0 --separate-stderr dfcache import -h
	[ -z "$stderr" ]
	run -0 --separate-stderr dfcache help export
	[ -z "$stderr" ]
	[ "$(dfcache help export)" = "$(dfcache export --help)" ]
	run -2 --separate-stderr dfcache
	[ -z "$output" ]
	run -2 --separate-stderr dfcache impart
	[ -z "$output" ]
	[[ $stderr == *"unrecognized subcommand 'impart'"* ]]
	run -2 --separate-stderr dfcache stat 1 -V
	[[ $stderr == *"unexpected argument '-V'"* ]]
	run -2 --separate-stderr dfcache export 1
	[[ $stderr == *"--output <PATH>"* ]]
	run -2 dfcache --output x
}

@test "-V prints name, version, commit and date" {
	run -0 --separate-stderr dfcache -V
	[ -z "$stderr" ]
	[[ $output =~ ^dfcache\ $(cat "$TOP/VERSION")\ \(([0-9a-f]{9}|unknown),\ ([0-9]{4}-[0-9]{2}-[0-9]{2}|unknown)\)$ ]]
	[ "$output" = "$(dfcache --version)" ]
}

@test "a result that cannot be written is a failure" {
	[ -c /dev/full ] || skip "no /dev/full"
	run -1 --separate-stderr bash -c 'dfcache config >/dev/full'
	[[ $stderr == *"could not be written to standard output"* ]]
}
