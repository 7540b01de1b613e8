#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_docs.sh ROOT
#
# What doc/mproc_<noun>.3.scd shows under EXAMPLES, and doc/mproc_<noun>.7.scd anywhere,
# stands, line by line, in examples/<noun>.c, which is compiled and run.
set -eu

cd "$1"
bad=0
for page in doc/mproc_*.[37].scd; do
	noun=${page#doc/mproc_}
	example=examples/${noun%.[37].scd}.c
	[ -f "$example" ] || example=/dev/null
	awk -v page="$page" -v example="$example" '
		FILENAME == example { program = program $0 "\n"; next }
		/^# / { inside = $0 == "# EXAMPLES" || page ~ /[.]7[.]scd$/; next }
		inside && /^```/ {
			fenced = !fenced
			if (!fenced && !index("\n" program, "\n" snippet)) {
				printf "%s:%d: this example is not in %s:\n%s", page, FNR, example, snippet
				bad = 1
			}
			snippet = ""
			next
		}
		fenced { snippet = snippet $0 "\n" }
		END { exit bad }
	' "$example" "$page" || bad=1
done
exit $bad
