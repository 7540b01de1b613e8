#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Search a model with Spin: model.sh FILE
#
# The head of FILE says which searches there are:
#
#	MODEL short|long safety|progress STATES -D…	must find nothing, in no fewer states
#	BROKEN safety|progress -D…			must find something
#
# safety: assertions and processes that never end; progress: no fair run that goes on
# for ever. Long ones are for MPROC_TEST_LONG.

set -u

file=$(realpath "$1") || exit 1
name=$(basename "$file" .pml)
memory=6000 # MiB
depth=5000000

if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
	echo "left out: Spin and a compiler for what it writes are not both installed"
	exit 77
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

fail()
{
	echo "FAILED: $*"
	exit 1
}

# search safety|progress OPTIMISATION -D…: run pan, its report goes to $dir/report
search()
{
	local kind=$1 optimise=$2 how run=(-m$depth)

	shift 2
	case $kind in
	safety) how=(-DSAFETY -DNOCLAIM) ;;
	progress) how=(-DNP -DNFAIR=3) run+=(-l -f) ;;
	*) fail "$name: no such search: $kind" ;;
	esac
	rm -f pan pan.* ./*.trail
	spin -a "$@" "$file" >spin.log 2>&1 || { cat spin.log; fail "spin -a $* $name"; }
	gcc "$optimise" -w -o pan "${how[@]}" -DMEMLIM=$memory -DVECTORSZ=2048 pan.c ||
		fail "$name: gcc pan.c"
	./pan "${run[@]}" >report 2>&1
}

errors()
{
	sed -n 's/.*errors: \([0-9]*\)$/\1/p' report
}

# A search that was cut short has shown nothing.
whole()
{
	! grep -qE 'max search depth too small|out of memory|Search not completed|aborted' report
}

states()
{
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' report | awk '{printf "%d", $1}'
}

n=0
while read -r _ word rest; do
	# shellcheck disable=SC2086 # several words
	set -- $rest
	case $word in
	MODEL)
		[ "$1" = short ] || [ -n "${MPROC_TEST_LONG-}" ] || continue
		floor=$3
		search "$2" -O2 "${@:4}"
		{ [ "$(errors)" = 0 ] && whole; } || { cat report; fail "$name ${*:2}"; }
		[ "$(states)" -ge "$floor" ] || fail "$name ${*:2}: only $(states) states"
		echo "$name: ${*:4}: $2 holds in $(states) states"
		;;
	BROKEN)
		search "$1" -O0 "${@:2}"
		[ "$(errors)" ] || { cat report; fail "$name ${*:2}"; }
		[ "$(errors)" -gt 0 ] || fail "$name ${*:2}: nothing was found in $(states) states"
		echo "$name: ${*:2}: found, as it must be: $(sed -n 's/^pan:[0-9]*: //p' report | head -n 1)"
		;;
	esac
	n=$((n + 1))
done < <(grep -E '^ \* (MODEL|BROKEN) ' "$file")
[ $n -gt 0 ] || fail "$name names no search"
