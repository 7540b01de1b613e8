#!/bin/sh
# SPDX-License-Identifier: MIT
#
# functions.sh HEADER: the names that a public header declares with MPROC_API
set -eu

awk '
	{ text = text $0 "\n" }
	END {
		# Comments and preprocessor lines first: both may speak of MPROC_API.
		while ((start = index(text, "/*")) > 0) {
			rest = substr(text, start + 2)
			text = substr(text, 1, start - 1) " " substr(rest, index(rest, "*/") + 2)
		}
		gsub(/\\\n/, " ", text)
		gsub(/(^|\n)[ \t]*#[^\n]*/, "\n", text)
		n = split(text, statement, /[;{}]/)
		for (i = 1; i <= n; i++) {
			if (statement[i] !~ /(^|[^A-Z_])MPROC_API[ \t\n]/)
				continue
			if (match(statement[i], /mproc_[a-z0-9_]+[ \t\n]*\(/))
				name = substr(statement[i], RSTART, RLENGTH - 1)
			else if (match(statement[i], /mproc_[a-z0-9_]+[ \t\n]*(\[[^]]*\])?[ \t\n]*$/))
				name = substr(statement[i], RSTART, RLENGTH)
			else
				name = "unreadable"
			gsub(/[^a-z0-9_].*/, "", name)
			print name
		}
	}' "$1" | LC_ALL=C sort
