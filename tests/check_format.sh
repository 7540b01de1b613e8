#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_format.sh ROOT [--fix]
#
# Every .c and .h of the tree is as clang-format writes it.
set -eu

cd "$1"

format=
for candidate in clang-format-14 clang-format; do
	command -v $candidate >/dev/null && format=$candidate && break
done
[ "$format" ] || { echo "no clang-format here"; exit 77; }

# New files count before they are added; build directories never do.
list_sources()
{
	if [ -e .git ] && command -v git >/dev/null; then
		# The tree may belong to another user than the one who tests.
		git -c safe.directory="$PWD" ls-files -z -co --exclude-standard -- '*.c' '*.h'
	else
		find . -path './build*' -prune -o -name '*.[ch]' -print0
	fi
}

sources=$(mktemp)
trap 'rm -f "$sources"' EXIT
list_sources >"$sources"
[ -s "$sources" ] || { echo "found no sources in $1"; exit 1; }

if [ "${2-}" = --fix ]; then
	xargs -0 $format -i <"$sources"
else
	xargs -0 $format --dry-run -Werror <"$sources"
fi
