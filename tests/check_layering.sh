#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_layering.sh ROOT
#
# A folder includes itself and the folders left of it: ipc, shm, pipes, pool. A
# public header stands on the floor of the source file by its name. Tools,
# examples and benchmarks use public headers, tools also *_layout.h.
set -eu

cd "$1"

floor_of_folder()
{
	case $1 in
	ipc) echo 1 ;;
	shm) echo 2 ;;
	pipes) echo 3 ;;
	pool) echo 4 ;;
	*) echo 0 ;;
	esac
}

# The floor of a noun; what has no source (common.h, types.h) lies under all.
floor_of_noun()
{
	for folder in pool pipes shm ipc; do
		[ ! -f "$folder/$1.c" ] || { floor_of_folder $folder; return; }
	done
	echo 0
}

# Exit status 0 if FILE may include WHAT ("path" or <path>); else says why not.
may_include() # FILE WHAT
{
	folder=${1%%/*}
	if [ "$folder" = include ]; then
		mine=$(floor_of_noun "$(basename "$1" .h)")
	else
		mine=$(floor_of_folder "$folder")
	fi
	case $2 in
	'<mproc/mproc.h>')
		[ "$mine" = 0 ] || { echo "the library names what it uses"; return 1; }
		;;
	'<mproc/'*)
		noun=${2#<mproc/}
		[ -f "include/mproc/${noun%>}" ] || { echo "there is no such header"; return 1; }
		[ "$mine" = 0 ] || [ "$(floor_of_noun "${noun%.h>}")" -le "$mine" ] ||
			{ echo "it lies on a higher floor"; return 1; }
		;;
	'<'*) ;;
	*)
		path=${2#\"}
		path=${path%\"}
		case $path in
		../* | */../*) echo "paths start at the root" && return 1 ;;
		esac
		[ -f "$path" ] || { echo "there is no such file below the root"; return 1; }
		case $folder in
		include)
			echo "a public header stands on public headers"
			return 1
			;;
		ipc | shm | pipes | pool)
			theirs=$(floor_of_folder "${path%%/*}")
			[ "$theirs" -gt 0 ] || { echo "it is no part of the library"; return 1; }
			[ "$theirs" -le "$mine" ] || { echo "it lies on a higher floor"; return 1; }
			case $1:$path in
			*_layout.h:*_layout.h) ;;
			*_layout.h:*)
				echo "a layout stands on layouts, since tools read it"
				return 1
				;;
			esac
			;;
		tools)
			case $path in
			tools/* | *_layout.h) ;;
			*) echo "tools see public headers and layouts" && return 1 ;;
			esac
			;;
		examples | bench)
			[ "${path%%/*}" = "$folder" ] ||
				{ echo "$folder uses public headers alone"; return 1; }
			;;
		esac
		;;
	esac
}

bad=0
includes=$(mktemp)
trap 'rm -f "$includes"' EXIT
find include ipc shm pipes pool tools examples bench -name '*.[ch]' \
	-exec grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]' {} + >"$includes"
[ -s "$includes" ] || { echo "found no sources in $1"; exit 1; }

while IFS=: read -r file line text; do
	what=$(expr "$text" : '[^"<]*\(["<][^">]*[">]\)') || what=
	if ! why=$(may_include "$file" "$what"); then
		echo "$file:$line: $what: $why"
		bad=1
	fi
done <"$includes"
exit $bad
