#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cli_hashtree.sh BUILD_ROOT SOURCE_ROOT
#
# The main job against find, sort and sha256sum, on its own and while its processes
# are killed. Workers are found as anybody would find them: the children of hashtree.
set -u
export LC_ALL=C
ulimit -c 0

hashtree=$1/examples/hashtree
[ -x "$hashtree" ] || { echo "hashtree was not built (no libcrypto?)"; exit 77; }

tmp=$(mktemp -d)
# What a segment with a name would be in; and a mark on all processes of ours.
export MPROC_DIR=$tmp/segments
mkdir "$MPROC_DIR"
chmod 755 "$tmp"
parent=''
trap 'status=$?; [ -z "$parent" ] || kill -9 "$parent"; rm -rf "$tmp"; exit $status' EXIT
bad=0

complain()
{
	# The line of the test, not that of a helper.
	echo "line ${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $*"
	bad=1
}

# What hashtree DIR... is to print.
reference()
{
	find "$@" -type f -print0 | sort -z | xargs -0 -r sha256sum
}

# Run hashtree: output in out, messages in err, exit status in $status.
run()
{
	timeout 100 "$hashtree" "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
}

# The last run printed what is in FILE, and ended so.
expect() # STATUS FILE WHAT
{
	[ "$status" = "$1" ] || { complain "$3: exit status $status, not $1"; cat "$tmp/err"; }
	cmp "$tmp/out" "$2" || complain "$3: not what sha256sum prints"
}

expect_error() # PATTERN WHAT
{
	grep -qE -- "$1" "$tmp/err" || { complain "$2: no message like '$1'"; cat "$tmp/err"; }
}

# The workers of $parent that live. By their name as well: a sanitizer that looks for leaks
# at the end has a child of its own, and waits for it for ever if it is killed.
workers()
{
	local pid status

	for pid in $(cat "/proc/$parent/task"/*/children 2>/dev/null); do
		status=$(head -n 3 "/proc/$pid/status" 2>/dev/null)
		[[ $status =~ ^Name:.mproc\ worker && $status =~ State:.[^ZX] ]] && echo "$pid"
	done
}

# Wait until a command says yes, for 20 s at most.
wait_until()
{
	local i

	for ((i = 0; i < 2000; i++)); do
		"$@" && return
		sleep 0.01
	done
	complain "waited in vain for: $*"
	return 1
}

# Nothing is left that belongs to this test: no process, no segment with a name.
nothing_left()
{
	local process

	for process in /proc/[0-9]*; do
		[ "$process/exe" -ef "$hashtree" ] &&
			grep -qsz "^MPROC_DIR=$MPROC_DIR\$" "$process/environ" && return 1
	done
	[ -z "$(ls -A "$MPROC_DIR")" ]
}

# --- names and kinds of files ------------------------------------------------------

odd=$tmp/odd
mkdir -p "$odd/sub dir/.hidden" "$odd/empty dir" "$odd/Übergröße" "$odd/-r" "$odd/back\\slash"
for name in a B '0' ' lead' 'trail ' 'two  blanks' '-rf' '--help' '*' '$HOME' "'" '"' 'a\b' '\' \
	'\n' $'new\nline' $'\n' $'cr\r' $'tab\t' $'\x01\x7f' $'\xff\xfe' 'é' '日本' '.dot' 'a.' \
	'sub dir/x' 'sub dir/.hidden/y' 'Übergröße/z' '-r/-f' 'back\slash/f' $'back\\slash/\\\r\n'; do
	printf '%s' "$name" >"$odd/$name"
done
: >"$odd/empty"
head -c 1000000 /dev/urandom >"$odd/random"
truncate -s 3M "$odd/sparse"
for n in 55 56 63 64 65 262143 262144 262145; do
	head -c $n /dev/zero >"$odd/zeroes-$n"
done
ln "$odd/random" "$odd/hard link"
ln -s random "$odd/link"
ln -s 'sub dir' "$odd/dirlink"
ln -s nowhere "$odd/dangling"
mkfifo "$odd/fifo"

# The same DIR in different words is the same files under different names.
cd "$odd" || exit 1
for dirs in "$odd" "$odd/" "$odd//" . ./ ../odd 'sub dir' random './--help' link dirlink dirlink/ \
	fifo 'empty dir'; do
	reference "$dirs" >"$tmp/want" 2>/dev/null
	run "$dirs"
	expect 0 "$tmp/want" "$dirs"
done
reference ./-r 'sub dir' random ./-r >"$tmp/want"
run ./-r 'sub dir' random ./-r
expect 0 "$tmp/want" "several DIRs, one of them twice"
reference ./-r | sed 's,  \./,  ,' >"$tmp/want"
run -- -r
expect 0 "$tmp/want" "a DIR with a leading dash"
reference "$odd" >"$tmp/want"
for n in 1 3 17; do
	run --workers $n "$odd"
	expect 0 "$tmp/want" "$n workers"
	[ "$(grep 'tasks per worker' "$tmp/err" | cut -d: -f3 | wc -w)" = $n ] ||
		complain "$n workers: $(cat "$tmp/err")"
	expect_error 'workers lost: 0$' "$n workers"
done
cd "$tmp" || exit 1

# --- what it says ------------------------------------------------------------------

run "$odd"
files=$(find "$odd" -type f -printf x | wc -c)
bytes=$(find "$odd" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
expect_error "^hashtree: $files files, $bytes bytes .* GB/s" summary
expect_error '^hashtree: tasks retried: 0, workers lost: 0' summary
expect_error '^hashtree: files that could not be read: 0' summary
sum=$(awk '/tasks per worker/ { for (i = 5; i <= NF; i++) n += $i; print n }' "$tmp/err")
[ "$sum" = "$files" ] || complain "tasks per worker: $sum in all for $files files"
grep -q $'\r' "$tmp/err" && complain "a progress bar where there is no terminal"
run --quiet "$odd"
expect 0 "$tmp/want" --quiet
[ -s "$tmp/err" ] && complain "--quiet, yet it says: $(cat "$tmp/err")"

# A terminal: something is drawn and taken away again; the digests are untouched.
truncate -s 1G "$tmp/large"
if command -v script >/dev/null; then
	reference "$odd" "$tmp/large" >"$tmp/want"
	SECONDS=0
	timeout 100 script -qefc "stty cols 60; '$hashtree' '$odd' '$tmp/large' >'$tmp/out'" \
		/dev/null </dev/null >"$tmp/screen"
	status=$?
	expect 0 "$tmp/want" "on a terminal"
	drawn=$(tr -cd '\r' <"$tmp/screen" | wc -c)
	[ "$drawn" -ge 4 ] && [ "$drawn" -le $((SECONDS * 10 + 25)) ] ||
		complain "the bar was drawn $drawn times in $SECONDS s"
	grep -q "of .*$((files + 1)) files" "$tmp/screen" || complain "no progress on a terminal"
	# Before the summary the line is blank.
	tr '\r' '\n' <"$tmp/screen" | grep -B 2 '^hashtree: .* files, ' | grep -qx ' *' ||
		complain "the bar was not cleared"
	tr '\r' '\n' <"$tmp/screen" | grep -v '^hashtree' | grep -q '.\{60\}' &&
		complain "a line as wide as the terminal"
	script -qefc "'$hashtree' --quiet '$odd' >'$tmp/out'" /dev/null </dev/null >"$tmp/screen"
	[ -s "$tmp/screen" ] && complain "--quiet draws on a terminal"
fi
rm "$tmp/large"

# --- what goes wrong ---------------------------------------------------------------

: >"$tmp/nothing"
while IFS='|' read -r arguments message; do
	# shellcheck disable=SC2086 # several arguments
	run $arguments
	expect 2 "$tmp/nothing" "hashtree $arguments"
	expect_error "$message" "hashtree $arguments"
done <<END
|no DIR given
--quiet|no DIR given
--nonsense $odd|unrecognized option '--nonsense'
-x $odd|invalid option -- 'x'
--workers|requires an argument
--workers 0 $odd|--workers takes a number from 1 to 1024, not "0"
--workers 1025 $odd|not "1025"
--workers -1 $odd|not "-1"
--workers 2x $odd|not "2x"
--workers= $odd|not ""
--quiet=1 $odd|doesn't allow an argument
END
run --help
[ $status = 0 ] && grep -q '^usage: hashtree' "$tmp/out" && [ ! -s "$tmp/err" ] ||
	complain "--help: status $status"

run "$tmp/nowhere" "$odd/a" ''
reference "$odd/a" >"$tmp/want"
expect 1 "$tmp/want" "a DIR that is not there"
expect_error "^hashtree: $tmp/nowhere: No such file or directory" "a DIR that is not there"
expect_error '^hashtree: : No such file or directory' "an empty DIR"
expect_error 'could not be read: 2' "a DIR that is not there"

timeout 100 "$hashtree" "$odd" >/dev/full 2>"$tmp/err"
[ $? = 2 ] || complain "a full disk is no failure"
expect_error '^hashtree: standard output: No space left' "a full disk"
timeout 100 "$hashtree" "$odd" >&- 2>"$tmp/err"
[ $? = 2 ] || complain "a closed standard output is no failure"
expect_error '^hashtree: standard output: Bad file descriptor' "a closed standard output"
mkfifo "$tmp/closed"
{
	read -r _ <"$tmp/closed"
	timeout 100 "$hashtree" "$odd" 2>"$tmp/err"
	echo $? >"$tmp/status"
} | {
	exec <&-
	echo >"$tmp/closed"
}
[ "$(cat "$tmp/status")" = 2 ] || complain "a closed pipe is no failure"
expect_error '^hashtree: standard output: Broken pipe' "a closed pipe"

# Without the right to read. Root has it always, so root becomes nobody.
secret=$tmp/secret
mkdir -p "$secret/closed"
echo 1 >"$secret/open"
echo 2 >"$secret/file"
echo 3 >"$secret/"$'\e[31m\n'
echo 4 >"$secret/closed/file"
chmod 0 "$secret/file" "$secret/"$'\e[31m\n' "$secret/closed"
as=()
if [ "$(id -u)" = 0 ]; then
	mkdir "$tmp/bin"
	cp "$hashtree" "$1"/libmproc.so.0 "$tmp/bin"
	as=(env "LD_LIBRARY_PATH=$tmp/bin" setpriv --reuid=65534 --regid=65534 --clear-groups)
	hashtree=$tmp/bin/hashtree
fi
if [ ${#as[@]} = 0 ] || { command -v setpriv >/dev/null && "${as[@]}" true; }; then
	"${as[@]}" sha256sum "$secret/open" >"$tmp/want"
	timeout 100 "${as[@]}" "$hashtree" "$secret" >"$tmp/out" 2>"$tmp/err"
	status=$?
	expect 1 "$tmp/want" "files without permission"
	expect_error "^hashtree: $secret/file: Permission denied" "a file without permission"
	expect_error "^hashtree: $secret/closed: Permission denied" "a directory without permission"
	expect_error "^hashtree: $secret/.033\[31m.012: Permission denied" "a name for the terminal"
	expect_error 'could not be read: 3' "files without permission"
fi
hashtree=$1/examples/hashtree
chmod 700 "$secret/closed"

# --- files that change between being found and being read ----------------------------

# The parent has found and handed out everything while its worker reads "huge".
huge=$tmp/huge
gone=$tmp/gone
mkdir "$gone"
for name in stays vanishes link fifo directory; do
	echo $name >"$gone/$name"
done
sha256sum "$gone/stays" >"$tmp/want"
truncate -s 64G "$huge"

# Does a worker read FILE? Leaves its number in $reader.
is_read() # FILE
{
	local pid

	for pid in $(workers); do
		for fd in "/proc/$pid/fd"/*; do
			[ "$(readlink "$fd" 2>/dev/null)" = "$1" ] && reader=$pid && return
		done
	done
	return 1
}

start()
{
	"$hashtree" "$@" >"$tmp/out" 2>"$tmp/err" &
	parent=$!
}

finish()
{
	wait "$parent" 2>/dev/null # not of interest that it was killed
	status=$?
	parent=''
}

start --workers 1 "$huge" "$gone"
if wait_until is_read "$huge"; then
	sleep 0.2
	rm "$gone"/{vanishes,link,fifo,directory}
	ln -s stays "$gone/link"
	mkfifo "$gone/fifo"
	mkdir "$gone/directory"
	truncate -s 0 "$huge"
fi
finish
sed -i "\\,  $huge\$,d" "$tmp/out"
expect 1 "$tmp/want" "files that changed"
expect_error "^hashtree: $gone/vanishes: No such file or directory" "a file that vanished"
expect_error "^hashtree: $gone/link: Too many levels of symbolic links" "a file that became a link"
expect_error "^hashtree: $gone/fifo: " "a file that became a fifo"
expect_error "^hashtree: $gone/directory: " "a file that became a directory"
expect_error 'could not be read: 4' "files that changed"

# --- kills -------------------------------------------------------------------------

# Much to read in little memory: one file by many names. Each is read in a small part of
# 50 ms even by a slow machine: a worker that always dies before it is done gets nowhere.
storm=$tmp/storm
mkdir "$storm"
cp -r "$odd/sub dir" "$odd/a" "$odd/a\\b" "$storm"
head -c 500000 /dev/urandom >"$storm/0"
for ((i = 1; i < 2000; i++)); do
	ln "$storm/0" "$storm/$i"
done
reference "$storm" >"$tmp/want"

rounds=3
[ -z "${MPROC_TEST_LONG-}" ] || rounds=30
retried=0
for ((round = 0; round < rounds; round++)); do
	start "$storm"
	SECONDS=0
	while kill -0 "$parent" 2>/dev/null; do
		[ $SECONDS -le 60 ] || { complain "no end while workers are killed"; break; }
		mapfile -t pids < <(workers)
		[ ${#pids[@]} = 0 ] || kill -9 "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null
		sleep 0.05
	done
	finish
	expect 0 "$tmp/want" "workers killed every 50 ms"
	n=$(sed -n 's/^hashtree: tasks retried: \([0-9]*\).*/\1/p' "$tmp/err")
	retried=$((retried + ${n:-0}))
	lost=$(sed -n 's/.*workers lost: \([0-9]*\)$/\1/p' "$tmp/err")
	[ "${lost:-0}" -ge "${n:-0}" ] || complain "$n tasks retried after ${lost:-0} deaths"
	nothing_left || complain "something is left after workers were killed"
done
echo "tasks retried in $rounds rounds: $retried"
[ "$retried" -ge $rounds ] || complain "the kills met no task"

# A worker that crashes is the file's fault: the fourth time is the last.
sha256sum "$odd/a" "$odd/random" >"$tmp/want"
truncate -s 64G "$huge"
start --workers 2 "$huge" "$odd/a" "$odd/random"
for crash in 1 2 3 4; do
	wait_until is_read "$huge" || break
	kill -SEGV "$reader"
	wait_until eval '! kill -0 $reader 2>/dev/null'
done
finish
expect 1 "$tmp/want" "a file whose workers crash"
expect_error "^hashtree: $huge: .*(signal 11|exited with code).* in attempt 4" "a crash"
expect_error 'tasks retried: 3, workers lost: 4' "a crash"
expect_error 'could not be read: 1' "a crash"
nothing_left || complain "something is left after crashes"

# The parent killed: no process of it stays, and with them goes the segment.
start --workers 3 "$huge" "$storm"
if wait_until is_read "$huge"; then
	inodes=$(awk '/memfd:/ { print $5 }' "/proc/$parent/maps" | sort -u)
	[ "$inodes" ] || complain "the parent has no segment"
	[ "$(workers | wc -l)" = 3 ] || complain "there are $(workers | wc -l) workers, not 3"
	kill -9 "$parent"
	finish
	[ $status = 137 ] || complain "kill -9 of the parent: status $status"
	SECONDS=0
	wait_until nothing_left
	[ $SECONDS -le 5 ] || complain "processes were there $SECONDS s after their parent"
	for inode in $inodes; do
		awk -v inode="$inode" '$5 == inode && /memfd:/ { found = 1 } END { exit found }' \
			/proc/[0-9]*/maps 2>/dev/null
		[ $? != 1 ] || complain "the segment is mapped by somebody still"
	done
else
	kill -9 "$parent"
	finish
fi

# --- real input --------------------------------------------------------------------

for dir in /usr/share/perl /usr/share/doc /usr/share/zoneinfo; do
	[ -d $dir ] || continue
	reference $dir >"$tmp/want" 2>/dev/null
	run $dir
	expect 0 "$tmp/want" $dir
done
nothing_left || complain "something is left at the end"
exit $bad
