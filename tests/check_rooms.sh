#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_rooms.sh ROOT
#
# One noun, one header, one test, one man page, by the same name; and every
# public header is installed and part of mproc.h.
set -eu

cd "$1"
bad=0

want() # FILE REASON
{
	[ -f "$1" ] || { echo "$1 is missing: $2"; bad=1; }
}

for header in include/mproc/*.h; do
	noun=$(basename "$header" .h)
	grep -qF "'mproc/$noun.h'" include/meson.build ||
		{ echo "$header is not installed by include/meson.build"; bad=1; }
	[ "$noun" != mproc ] || continue

	want "doc/mproc_$noun.3.scd" "the man page of $header"
	grep -qxF "#include <mproc/$noun.h>" include/mproc/mproc.h ||
		{ echo "$header is not included by mproc.h"; bad=1; }
	case $noun in
	common | error | types | cleanup) ;;
	*) want "tests/test_$noun.c" "the test of $header" ;;
	esac
done
for page in doc/*.scd; do
	grep -qF "'$(basename "$page" .scd)'" doc/meson.build ||
		{ echo "$page is not listed in doc/meson.build"; bad=1; }
done
# A test that nobody runs proves nothing.
for test in tests/test_*.c tests/sweep_*.c tests/stress_*.c tests/abi_*.c tests/cli_*.sh; do
	[ -e "$test" ] || continue
	name=$(basename "$test")
	table=${name%%_*}_rooms
	[ "$table" != cli_rooms ] || table=cli_commands
	name=${name#*_}
	sed -n "/^$table = /,/^]/p" tests/meson.build | grep -qF "'${name%.*}'" ||
		{ echo "$test is not listed in $table of tests/meson.build"; bad=1; }
done
exit $bad
