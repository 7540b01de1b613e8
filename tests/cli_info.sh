#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cli_info.sh BUILD_ROOT SOURCE_ROOT
#
# shmtool info: one segment, however it is named and whatever it contains.
set -u
# Without it there are no directories of our own to write to.
. "$2/tests/support/segments.sh" || exit 1

run info
expect 64 'no segment'
run info a b
expect 64 'two segments'
run info --nonsense
expect 64 'an unknown option'
run info /nothing/there
expect 1 'a path to nothing'
expect_error '/nothing/there: No such file' 'a path to nothing'
run info nothing
expect 1 'an unknown name'
expect_error 'nothing: no segment' 'an unknown name'
run info /dev/null
expect 1 'a device'
expect_error '/dev/null: it is no regular file' 'a device'
run info "$tmp/stdin"
expect 1 'a fifo'
run info /etc/passwd
expect 1 'a file that is no segment'
expect_error 'it is no segment' 'a file that is no segment'

# One that lives, with a lock held and a thread that waits.
hold jobs mutex wait
first=$pid
hold jobs open
second=$pid
hold jobs look
onlooker=$pid
# The youngest one: a sanitizer may have a thread of its own.
thread=$(printf '%s\n' "/proc/$first/task"/* | sed 's|.*/||' | grep -vx "$first" | sort -n | tail -n 1)

waits()
{
	run info jobs --json
	grep -q '"waits_on": {' "$tmp/out"
}
wait_until waits
signal "$second" STOP
run info jobs
expect 0 'info by name'
expect_line '^segment jobs$' 'the name'
expect_line '^  state +live$' 'the state'
expect_line "^  owner +[^ ]+, group [^ ]+, mode 0600$" 'whose it is'
expect_line "^  looking on +$onlooker$" 'who only reads'
expect_line "^  created +[0-9-]+ [0-9:]+ by holder, pid $first$" 'the creator'
expect_line '^  size +1 MiB, may grow to 4 MiB; ' 'the size'
expect_line '^participants: 2 living, 0 dead, of at most 8$' 'the participants'
expect_line "^ +[0-9]+ +$first +alive +[0-9-]+ [0-9:]+ +2 +holder +this$" 'the first participant'
expect_line "^ +[0-9]+ +$second +alive, stopped +.* holder +this$" 'the stopped one'
expect_line "^ +$first +$first +alive .* mutex at 64 in block table +- +-$" 'the held mutex'
expect_line "^ +$first +$thread +alive +wait.x1b\[31m.x0a .* queue id.x1b\[2Jle.xff$" \
	'the waiting thread'
expect_line '^ +[0-9]+ +queue +jobs +[0-9]+ +[0-9]+ +live$' 'a queue in the catalogue'
expect_line '^ +[0-9]+ +queue +- +[0-9]+ +[0-9]+ +live$' 'an anonymous queue'
expect_line '^ +[0-9]+ +block +table +4096 +[0-9]+ +live$' 'a block'
expect_line '^queue jobs$' 'a queue by its name'
expect_line '^  messages +3 of at most 8, each of at most 100 bytes$' 'the depth'
expect_line '^  put +3 \(21 B\), 0 found it full$' 'what was put'
expect_line '^  locks +putters: nobody; getters: nobody$' 'the owners of the locks'

run info --json jobs
expect 0 'info --json'
idle="one(j['objects'], name=r'id\\x1b[2Jle\\xff')"
expect_json \
	"j['segment']['name'] == 'jobs'" \
	"j['segment']['state'] == 'live'" \
	"sorted(j['segment']['holders']) == sorted([$first, $second, $onlooker])" \
	"j['segment']['onlookers'] == [$onlooker]" \
	"j['segment']['gid'] == $(id -g)" \
	"j['segment']['group'] == '$(id -gn)'" \
	"j['recovered'] == {'deaths': 0, 'takeovers': 0, 'heals': 0}" \
	"len(j['participants']) == 2" \
	"one(j['participants'], pid=$first)['exe'] == 'holder'" \
	"one(j['participants'], pid=$first)['threads'] == 2" \
	"one(j['participants'], pid=$first)['pid_namespace_is_ours']" \
	"one(j['participants'], pid=$second)['process_state'] == 'T'" \
	"one(j['threads'], tid=$first)['holds'][0]['kind'] == 'mutex'" \
	"one(j['threads'], tid=$first)['holds'][0]['object'] == 'table'" \
	"one(j['threads'], tid=$first)['waits_on'] is None" \
	"one(j['threads'], tid=$thread)['waits_on']['kind'] == 'queue'" \
	"one(j['threads'], tid=$thread)['waits_on']['entry'] == $idle['entry']" \
	"one(j['threads'], tid=$thread)['state'] == 'alive'" \
	"$idle['queue']['waiters'] == 1" \
	"$idle['queue']['sleepers_for_messages']" \
	"not $idle['queue']['sleepers_for_room']" \
	"one(j['objects'], name='jobs')['queue']['messages'] == 3" \
	"one(j['objects'], name='jobs')['queue']['depth'] == 8" \
	"one(j['objects'], name='jobs')['queue']['put'] == 3" \
	"one(j['objects'], name='jobs')['queue']['got'] == 0" \
	"one(j['objects'], name='jobs')['queue']['bytes_put'] == 21" \
	"one(j['objects'], name='table')['bytes'] == 4096" \
	"one(j['objects'], kind='queue', name=None)['corrupt'] is None" \
	"j['arena']['pages_impossible'] == 0" \
	"j['arena']['small_blocks_impossible'] == 0" \
	"sum(j['arena']['pages_' + k] for k in ('free', 'used', 'private', 'slabs', 'tables')) == j['arena']['pages']"

# The same segment by every other name it has.
id=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["segment"]["id"])' "$tmp/out")
fd=$(find "/proc/$second/fd" -lname "$MPROC_DIR/mproc.jobs" | head -n 1)
for name in "$first" "$second" "$second:${fd##*/}" "${id:0:8}" "$id" "$MPROC_DIR/mproc.jobs" "$fd"; do
	run info --json "$name"
	expect 0 "info $name"
	expect_json "j['segment']['id'] == '$id'" "j['segment']['state'] == 'live'"
done
run info "${id:0:3}"
expect 1 'an id of three digits'

# An anonymous one, which has no other name than its process.
hold -
run info "$pid"
expect 0 'info of a process'
expect_line '^segment anonymous$' 'an anonymous segment'
end "$pid" KILL

# A process that has two.
hold two
cp "$MPROC_DIR/mproc.two" "$tmp/two"
bash -c 'exec 7<"$1" 8<"$2"; echo ready; read -r _' - "$MPROC_DIR/mproc.two" "$MPROC_DIR/mproc.jobs" \
	<"$tmp/stdin" 9>&- >"$tmp/both" &
both=$!
holders[$both]=1
both_open()
{
	grep -q ready "$tmp/both"
}
wait_until both_open
run info "$both"
expect 1 'a process with two segments'
expect_error '2 segments fit: ' 'a process with two segments'
end "$both" KILL

# A saved copy: nobody in it is dead, and nobody alive.
run info "$tmp/two"
expect 0 'a copy'
expect_line '^  state +copy$' 'a copy'
expect_line 'unknown' 'a participant of a copy'
(
	cd "$tmp" || exit 1
	run info two
	[ "$status" = 0 ] && grep -q '^segment two$' "$tmp/out"
) || complain 'the name of a segment comes before that of a file'
end "$pid" KILL

# Killed, and dumped: what is left can be looked at, and tells who left it.
signal "$second" CONT
end "$second" KILL
run info --json jobs
expect_json "one(j['participants'], pid=$second)['state'] == 'dead'" \
	"one(j['participants'], pid=$second)['process_state'] is None" \
	"one(j['threads'], tid=$second)['state'] == 'dead'" \
	"j['segment']['state'] == 'live'"
core=unlimited hold jobs open
end "$pid" ABRT
end "$first" SEGV
run info jobs
expect 0 'info of a leftover'
expect_line '^  state +dead$' 'a leftover'
expect_line "^ +$first +$first +dead .* mutex at 64 in block table" 'the mutex of a dead one'
run info "$MPROC_DIR/mproc.jobs"
expect_line '^  state +dead$' 'a leftover by its path'
run info --json jobs
expect_json "[p['state'] for p in j['participants']].count('dead') == len(j['participants'])" \
	"one(j['objects'], name='jobs')['queue']['messages'] == 3"

# A pool, at work on a file that is long, stopped, and after a death.
pool="one(j['objects'], kind='pool')['pool']"
pool_says() # EXPRESSION
{
	run info --json "$parent"
	[ "$status" = 0 ] && python3 -c "import json, sys
def one(items, **want):
    return [i for i in items if all(i[k] == v for k, v in want.items())][0]
j = json.load(open(sys.argv[1]))
sys.exit(not ($1))" "$tmp/out" 2>/dev/null
}
hashtree=${shmtool%/tools/*}/examples/hashtree
if [ -x "$hashtree" ]; then
	mkdir "$tmp/tree"
	touch "$tmp/tree/a" "$tmp/tree/b" "$tmp/tree/c"
	truncate -s 100G "$tmp/tree/long"
	MPROC_CPU_COUNT=2 "$hashtree" "$tmp/tree" 9>&- >/dev/null 2>&1 &
	parent=$!
	holders[$parent]=1
	wait_until pool_says "$pool['done'] == 3 and $pool['running'] == 1"
	busy=$(python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
pool = [o for o in j["objects"] if o["kind"] == "pool"][0]["pool"]
print([w for w in pool["workers"] if w["state"] == "running"][0]["pid"])' "$tmp/out")
	signal "$busy" STOP
	run info "$parent"
	expect 0 'info of a pool'
	expect_line '^pool ' 'a pool'
	expect_line '^  tasks +0 queued, 1 running, 0 finished' 'tasks of a pool'
	expect_line '^  so far +4 submitted, 3 done \(0 failed\), 0 retried$' 'tasks so far'
	expect_line "^ +[01] +$busy +running, task in slot [0-9]+, attempt 1, stopped " 'a worker'
	expect_line '^ +[01] +[0-9]+ +idle ' 'another worker'
	run info --json "$parent"
	expect_json "$pool['state'] == 'running'" "$pool['parent'] == $parent" \
		"one($pool['workers'], pid=$busy)['stopped']" \
		"one($pool['workers'], pid=$busy)['attempt'] == 1" \
		"sum(w['done'] for w in $pool['workers']) == 3" \
		"one(j['objects'], entry=$pool['tasks_entry'])['kind'] == 'queue'" \
		"one(j['objects'], entry=$pool['results_entry'])['kind'] == 'queue'"
	end "$busy" KILL
	wait_until pool_says "$pool['deaths'] == 1 and $pool['retried'] == 1 and $pool['running'] == 1"
	run info "$parent"
	expect_line ', attempt 2 ' 'the second attempt'
	end "$parent" KILL
fi

# The last words of a ring log.
hold logged persistent log
kill -STOP "$pid"
run info logged
expect 0 'info of a ring log whose writer is stopped'
expect_line '^  records      12 of 12 ever, ' 'its records'
expect_line "^    11  .* pid $pid tid $pid  .x1b.2J.x00x$" 'its last record, escaped'
kill -CONT "$pid"
end "$pid" KILL
run info --json logged
expect 0 'info of a ring log of the dead'
expect_json "one(j['objects'], name='log')['ringlog']['appended'] == 12" \
	"len(one(j['objects'], name='log')['ringlog']['last']) == 10" \
	"one(j['objects'], name='log')['ringlog']['last'][-2]['text'] == 'line 10'"

# Values and arrays, by their types.
hold values values
run info values
expect 0 'info of values'
expect_line "^  value count +int64 +1 +-42 +pid $pid tid $pid \(alive\)$" 'an integer'
expect_line '^  value ratio +double +1 +0.5 +nobody$' 'a double'
expect_line '^  value endless +float +1 +inf +nobody$' 'infinity'
expect_line '^  value flag +bool +1 +true +nobody$' 'a bool'
expect_line '^  value point +struct point of 16 bytes +1 +- +nobody$' 'a struct'
expect_line '^  array samples +uint16 +5 +- +nobody$' 'an array'
run info --json values
expect_json "one(j['objects'], name='count')['value']['value'] == -42" \
	"one(j['objects'], name='count')['value']['lock_owner']['pid'] == $pid" \
	"one(j['objects'], name='count')['value']['left_by_the_dead'] is False" \
	"one(j['objects'], name='ratio')['value']['value'] == 0.5" \
	"one(j['objects'], name='endless')['value']['value'] == 'inf'" \
	"one(j['objects'], name='flag')['value']['value'] is True" \
	"one(j['objects'], name='point')['value']['value'] is None" \
	"one(j['objects'], name='point')['value']['type'] == 'struct point of 16 bytes'" \
	"one(j['objects'], name='samples')['array']['items'] == 5" \
	"one(j['objects'], name='samples')['array']['item_size'] == 2"
end "$pid" KILL
run info values
expect_line "^  value count +int64 +1 +-42 +pid $pid tid $pid \(dead\)$" 'a lock of the dead'

# What may not be read is said to be so.
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	chmod 755 "$MPROC_DIR"
	cp "$shmtool" "$tmp/shmtool"
	for what in jobs $$; do
		timeout 60 setpriv --reuid=nobody --regid=nogroup --clear-groups \
			"$tmp/shmtool" info $what >"$tmp/out" 2>"$tmp/err"
		status=$?
		expect 1 "info $what as nobody"
		expect_error "$what: (Permission denied|this process may not be looked into)" \
			"info $what as nobody"
	done
	chmod 700 "$MPROC_DIR"
fi

# Whatever the bytes are, shmtool ends, prints text, and says so if it is wrong.
python3 - "$MPROC_DIR/mproc.jobs" "$tmp" <<-'PYTHON' || complain 'no images were made'
	import random, struct, sys
	image = open(sys.argv[1], "rb").read()
	random.seed(5)
	values = [0, 1, 2, 3, 0xff, 0xffff, 0xffffffff, 1 << 31, 1 << 40, (1 << 64) - 1, 0x1b5b334a41]
	for i in range(24):
	    b = bytearray(image)
	    # The first two pages seldom: they are checked best.
	    low = 0 if i % 6 == 0 else 8192
	    for _ in range(random.choice([1, 20, 2000])):
	        at = random.randrange(low, len(b) - 8) & ~7
	        v = random.choice(values + [random.getrandbits(64)] * 3)
	        b[at : at + 8] = struct.pack("<Q", v & (1 << 64) - 1)
	    if i % 10 == 9:
	        del b[random.randrange(len(b)) :]
	    open(f"{sys.argv[2]}/image.{i}", "wb").write(b)
PYTHON
for image in "$tmp"/image.*; do
	run info "$image"
	[ "$status" -le 1 ] || complain "$image: exit status $status"
	[ -s "$tmp/out" ] || [ -s "$tmp/err" ] || complain "$image: no word"
	run info --json "$image"
	[ "$status" -le 1 ] || complain "$image --json: exit status $status"
	cp "$tmp/out" "$tmp/json.${image##*.}"
done
python3 - "$tmp" <<-'PYTHON' || complain 'JSON of an image is none'
	import glob, json, sys
	seen = [json.load(open(f))["segment"]["state"] for f in glob.glob(sys.argv[1] + "/json.*")]
	print(len(seen), "images:", sorted(set(seen)))
	sys.exit(len(seen) != 24 or len(set(seen)) < 2)
PYTHON
exit $bad
