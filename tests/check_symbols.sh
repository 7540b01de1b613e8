#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_symbols.sh ROOT LIBRARY
#
# What the headers promise, what mproc.map lists, what the library exports and
# what the man pages describe is one set of names; and libc is all it needs.
set -eu

root=$1
lib=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0
LC_ALL=C
export LC_ALL

complain() # TEXT FILE: the lines of FILE are what is wrong
{
	[ -s "$2" ] || return 0
	echo "$1:"
	sed 's/^/	/' "$2"
	bad=1
}

for header in "$root"/include/mproc/*.h; do
	page=$root/doc/mproc_$(basename "$header" .h).3.scd
	"$root/tests/functions.sh" "$header" >"$tmp/functions"
	cat "$tmp/functions" >>"$tmp/all"
	[ -s "$tmp/functions" ] || continue
	: >"$tmp/synopsis"
	[ ! -f "$page" ] || sed -n '/^# SYNOPSIS/,/^# DESCRIPTION/p' "$page" >"$tmp/synopsis"
	: >"$tmp/undescribed"
	while read -r name; do
		grep -qF "*$name*" "$tmp/synopsis" || echo "$name" >>"$tmp/undescribed"
	done <"$tmp/functions"
	complain "not in the synopsis of ${page#"$root"/}" "$tmp/undescribed"
done
sort "$tmp/all" >"$tmp/headers"
uniq -d "$tmp/headers" >"$tmp/twice"
complain "declared twice" "$tmp/twice"

sed -n 's/^[ 	]*\(mproc_[a-z0-9_]*\);$/\1/p' "$root/mproc.map" | sort >"$tmp/map"
uniq -d "$tmp/map" >"$tmp/twice"
complain "twice in mproc.map" "$tmp/twice"
comm -23 "$tmp/headers" "$tmp/map" | sed 's/$/;/' >"$tmp/diff"
complain "MPROC_API in a header, missing in mproc.map" "$tmp/diff"
comm -13 "$tmp/headers" "$tmp/map" >"$tmp/diff"
complain "in mproc.map, MPROC_API in no header" "$tmp/diff"

nm -D --defined-only "$lib" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort >"$tmp/exported"
[ -s "$tmp/exported" ] || { echo "$lib exports nothing"; bad=1; }
comm -23 "$tmp/map" "$tmp/exported" >"$tmp/diff"
complain "in mproc.map, not exported by the library" "$tmp/diff"
comm -13 "$tmp/map" "$tmp/exported" >"$tmp/diff"
complain "exported by the library, not in mproc.map" "$tmp/diff"

readelf -d "$lib" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
	grep -v -e '^libc\.so\.' -e '^ld-linux' >"$tmp/diff" || :
complain "the library needs more than libc" "$tmp/diff"

exit $bad
