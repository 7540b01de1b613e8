#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_headers.sh ROOT
#
# Every public header compiles alone, and twice, as strict C11 and as C++11, and
# defines no macro outside the project's name.
set -eu

root=$1
bad=0
used=

try() # COMPILER LANGUAGE STANDARD
{
	command -v "$1" >/dev/null || return 0
	used="$used $1"
	for header in "$root"/include/mproc/*.h; do
		name=$(basename "$header")
		printf '#include <mproc/%s>\n#include <mproc/%s>\n' "$name" "$name" |
			"$1" -x "$2" -std="$3" -pedantic-errors -Wall -Wextra -Werror \
				-fsyntax-only -I "$root/include" - ||
			{ echo "$name is no clean $3 for $1"; bad=1; }
	done
}

try gcc c c11
try clang c c11
try g++ c++ c++11
try clang++ c++ c++11
echo "compilers:$used"
[ "$used" ] || { echo "no compiler found"; exit 77; }

if grep -nE '^[[:space:]]*#[[:space:]]*define[[:space:]]' "$root"/include/mproc/*.h |
	grep -vE 'define[[:space:]]+(MPROC_|mproc_)'; then
	echo "macros outside MPROC_ and mproc_"
	bad=1
fi
exit $bad
