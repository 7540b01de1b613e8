#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cli_gc.sh BUILD_ROOT SOURCE_ROOT
#
# shmtool gc removes what the dead have left, and nothing else.
set -u
# Without it there are no directories of our own to write to.
. "$2/tests/support/segments.sh" || exit 1

there() # NAME...
{
	local name

	for name; do
		[ -e "$MPROC_DIR/mproc.$name" ] || complain "$name was removed"
	done
}

gone() # NAME...
{
	local name

	for name; do
		[ ! -e "$MPROC_DIR/mproc.$name" ] || complain "$name was not removed"
	done
}

run gc --nonsense
expect 64 'an unknown option'
run gc nonsense
expect 64 'an argument'
run gc --help
expect 0 'gc --help'

run gc
expect 0 'nothing to remove'
[ ! -s "$tmp/out" ] || complain 'nothing to remove, yet something is said'

# A leftover of each kind beside what must stay.
hold dead
end "$pid" KILL
core=unlimited hold dumped
end "$pid" SEGV
hold stays persistent
end "$pid" KILL
hold lives
alive=$pid
hold stopped
stopped=$pid
signal "$stopped" STOP
hold half
half=$pid
hold half open
end "$half" KILL
cp "$MPROC_DIR/mproc.dead" "$MPROC_DIR/mproc.older"
# The layout number, which stands there in every layout.
printf '\143' | dd of="$MPROC_DIR/mproc.older" bs=1 seek=16 conv=notrunc status=none
printf 'no segment' >"$MPROC_DIR/mproc.alien"
printf 'no segment' >"$MPROC_DIR/other"
# What a creator who was killed leaves where files cannot be without a name.
: >"$MPROC_DIR/mproc..tmpAbCdEf"
kept='stays lives stopped half alien'

run gc --dry-run
expect 0 'gc --dry-run'
expect_line '^would remove dead: 1 MiB, made by holder, pid [0-9]+$' 'a leftover'
expect_line '^would remove dumped: ' 'another leftover'
expect_line '^would remove older: [0-9.]+ [KM]iB, layout [0-9]+ here, 99 in the segment$' 'an older one'
expect_line '^would remove 1 temporary file' 'a temporary file'
[ "$(wc -l <"$tmp/out")" = 4 ] || { complain 'more would be removed'; cat "$tmp/out"; }
there dead dumped older $kept .tmpAbCdEf

run gc --dry-run --json
expect 0 'gc --dry-run --json'
expect_json "j['dry_run'] is True" "j['removed'] == 3" "j['temporary'] == 1" \
	"one(j['segments'], name='dead')['action'] == 'would_remove'" \
	"one(j['segments'], name='lives')['action'] == 'kept'"
there dead dumped older $kept .tmpAbCdEf

run gc --json
expect 0 'gc --json'
expect_json "j['dry_run'] is False" "j['removed'] == 3" "j['failed'] == 0" \
	"j['removed_bytes'] == sum(s['size'] for s in j['segments'] if s['action'] == 'removed')" \
	"one(j['segments'], name='dead')['size'] == 1 << 20" "j['temporary'] == 1" "j['dir'] == '$MPROC_DIR'" \
	"one(j['segments'], name='dead')['action'] == 'removed'" \
	"one(j['segments'], name='dumped')['action'] == 'removed'" \
	"one(j['segments'], name='older')['action'] == 'removed'" \
	"one(j['segments'], name='stays')['why'] == 'persistent'" \
	"one(j['segments'], name='lives')['why'] == 'in use'" \
	"one(j['segments'], name='stopped')['why'] == 'in use'" \
	"one(j['segments'], name='half')['why'] == 'in use'" \
	"one(j['segments'], name='alien')['action'] == 'kept'"
gone dead dumped older .tmpAbCdEf
there $kept
[ -e "$MPROC_DIR/other" ] || complain 'a file of another name was removed'

run gc
expect 0 'nothing left to remove'
[ ! -s "$tmp/out" ] || { complain 'something was left'; cat "$tmp/out"; }

# What was kept still works.
hold lives open
end "$pid" KILL
end "$stopped" KILL
end "$alive" KILL
run gc
expect 0 'gc after more deaths'
expect_line '^removed stopped: ' 'a leftover of the stopped'
expect_line '^removed lives: ' 'a leftover of the living'
gone lives stopped
there stays half

# A group that is killed while it makes the segment larger leaves one leftover.
has_grown()
{
	[ "$(stat -c %s "$MPROC_DIR/mproc.group")" -gt $((3 << 20)) ]
}

for i in 1 2 3; do
	group=''
	for word in grows 'open grows' 'open grows' open; do
		# shellcheck disable=SC2086
		hold group $word
		group="$group $pid"
	done
	rest=$pid
	wait_until has_grown
	for pid in $group; do
		[ "$pid" = "$rest" ] || signal "$pid" KILL
	done
	for pid in $group; do
		[ "$pid" != "$rest" ] || continue
		wait "$pid" 2>/dev/null
		unset "holders[$pid]"
	done
	run gc
	there group
	# Who is left goes on, and so does who comes.
	run info group
	expect 0 'info on what was growing'
	hold group open
	end "$pid" KILL
	end "$rest" KILL
	run gc
	expect 0 'gc after a group'
	expect_line '^removed group: [0-9.]+ MiB, made by holder' 'what has grown'
	gone group
done
for file in "$MPROC_DIR"/mproc.group* "$MPROC_DIR"/mproc..tmp*; do
	[ ! -e "$file" ] || complain "$file was left"
done

# A name that is made again while it is collected belongs to the living in the end.
racers=''
for i in 1 2 3; do
	(
		for k in $(seq 40); do
			timeout 60 "$shmtool" gc >/dev/null 2>&1 9>&-
		done
	) &
	racers="$racers $!"
done
for i in $(seq 15); do
	hold again
	first=$pid
	hold again open
	there again
	end "$pid" KILL
	there again
	end "$first" KILL
done
wait $racers
run gc
gone again

# Another user's are not touched, by root neither; and nobody removes root's.
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	hold foreign
	end "$pid" KILL
	chown nobody "$MPROC_DIR/mproc.foreign"
	mkfifo "$MPROC_DIR/mproc.fifo" "$MPROC_DIR/mproc..tmpPiPe00"
	mkdir "$MPROC_DIR/mproc.directory"
	ln -s mproc.foreign "$MPROC_DIR/mproc.symlink"
	: >"$MPROC_DIR/mproc..tmpTeMp00"
	squats="fifo .tmpPiPe00 directory symlink .tmpTeMp00"
	for name in $squats; do
		chown -h nobody "$MPROC_DIR/mproc.$name"
	done
	# Root's own, under a name that somebody else has given it.
	ln "$MPROC_DIR/other" "$MPROC_DIR/mproc.linked"
	stat -c '%n %F %i %h %u %a %s %z' "$MPROC_DIR"/* "$MPROC_DIR"/mproc..tmp* >"$tmp/before"
	run gc --json
	expect 0 'gc with foreign files'
	expect_json "one(j['segments'], name='foreign')['why'] == \"another user's\"" "j['removed'] == 0" \
		"j['temporary'] == 0"
	stat -c '%n %F %i %h %u %a %s %z' "$MPROC_DIR"/* "$MPROC_DIR"/mproc..tmp* >"$tmp/after"
	cmp -s "$tmp/before" "$tmp/after" || { complain 'gc has touched something'; diff "$tmp/before" "$tmp/after"; }
	for name in $squats linked; do
		rm -r "$MPROC_DIR/mproc.$name"
	done
	hold ours
	end "$pid" KILL
	chmod 1777 "$MPROC_DIR"
	cp "$shmtool" "$tmp/shmtool"
	timeout 60 setpriv --reuid=nobody --regid=nogroup --clear-groups "$tmp/shmtool" gc \
		>"$tmp/out" 2>"$tmp/err"
	status=$?
	expect 0 'gc as nobody'
	gone foreign
	there ours stays
fi
exit $bad
