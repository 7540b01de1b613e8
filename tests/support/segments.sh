# SPDX-License-Identifier: MIT
#
# For cli tests of shmtool: . segments.sh, with BUILD_ROOT as the first argument
#
# A directory of named segments of the test's own, programs that hold segments, and
# checks. JSON is asked by python expressions, in which j is the whole of it.

set -u
export LC_ALL=C.UTF-8
ulimit -S -c 0

shmtool=$1/tools/shmtool
holder=$1/tests/holder
[ -x "$shmtool" ] || { echo "shmtool was not built (no json-c?)"; exit 77; }

tmp=$(mktemp -d) || exit 1
MPROC_DIR=$(mktemp -d /dev/shm/mproc-cli.XXXXXX) || exit 1
export MPROC_DIR
# Numbers of programs that were started and have not been waited for: still ours.
declare -A holders=()
n_holders=0
bad=0

cleanup()
{
	local status=$? pid

	for pid in "${!holders[@]}"; do
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "${tmp:?}" "${MPROC_DIR:?}"
	exit $status
}
trap cleanup EXIT
chmod 755 "$tmp"
# Holders end with this shell, however it ends: it alone can write here.
mkfifo "$tmp/stdin"
exec 9<>"$tmp/stdin"

complain()
{
	# The line of the test, not that of a helper.
	echo "line ${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $*"
	bad=1
}

# Wait until a command says yes, for 20 s at most.
wait_until()
{
	local i

	for i in $(seq 2000); do
		if "$@"; then
			return 0
		fi
		sleep 0.01
	done
	echo "waited in vain for: $*"
	exit 1
}

has_begun() # PID OUTPUT
{
	grep -q ready "$2" && return 0
	kill -0 "$1" 2>/dev/null || { echo "holder $1 has failed"; exit 1; }
	return 1
}

# hold NAME WORD...: start a holder; its number is in $pid. It dumps core if $core is set.
hold()
{
	n_holders=$((n_holders + 1))
	: >"$tmp/holder.$n_holders"
	(
		# Core files may be put where a program stands.
		cd "$tmp" || exit 1
		ulimit -S -c "${core:-0}"
		exec "$holder" "$@" <"$tmp/stdin" 9>&- >"$tmp/holder.$n_holders"
	) &
	pid=$!
	holders[$pid]=1
	wait_until has_begun "$pid" "$tmp/holder.$n_holders"
}

is_stopped() # PID
{
	grep -q '^State:[[:space:]]*T' "/proc/$1/status"
}

# signal PID SIGNAL: to one process. What is no number of one would mean a group, or all.
signal()
{
	case $1 in
	'' | *[!0-9]* | 0 | 1) echo "line ${BASH_LINENO[0]}: '$1' is no process to be killed"; exit 1 ;;
	esac
	kill -"$2" "$1"
	# A process stops when its CPU hears of it, which may be after kill(2) has returned.
	[ "$2" != STOP ] || wait_until is_stopped "$1"
}

# end PID SIGNAL: and wait until it is gone.
end()
{
	signal "$1" "$2"
	wait "$1" 2>/dev/null
	unset "holders[$1]"
}

# run ARGUMENT...: shmtool; output in out, messages in err, exit status in $status.
run()
{
	timeout 60 "$shmtool" "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	# Nothing that a terminal acts on, whatever stands in memory.
	if LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$tmp/out" "$tmp/err"; then
		complain "$*: control bytes in the output"
	fi
}

# expect STATUS WHAT
expect()
{
	[ "$status" = "$1" ] && return
	complain "$2: exit status $status, not $1"
	cat "$tmp/out" "$tmp/err"
}

# expect_line PATTERN WHAT; expect_error PATTERN WHAT: in the output, in the messages.
expect_line()
{
	grep -qE -- "$1" "$tmp/out" || { complain "$2: no line like '$1'"; cat "$tmp/out"; }
}

expect_error()
{
	grep -qE -- "$1" "$tmp/err" || { complain "$2: no message like '$1'"; cat "$tmp/err"; }
}

# expect_json EXPRESSION...: each must be true.
expect_json()
{
	python3 -c '
import json, sys

def one(items, **want):
    found = [i for i in items if all(i[k] == v for k, v in want.items())]
    if len(found) != 1:
        raise LookupError(f"{len(found)} of {want}")
    return found[0]

bad = False
j = json.load(open(sys.argv[1]))
for text in sys.argv[2:]:
    try:
        good = eval(text)
    except Exception as e:
        good, text = False, f"{text}: {e!r}"
    if not good:
        print("not so:", text)
        bad = True
if bad:
    print(json.dumps(j, indent=1)[:8000])
sys.exit(bad)
' "$tmp/out" "$@" || complain "JSON is not as expected"
}
