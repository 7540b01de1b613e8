#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cli_ls.sh BUILD_ROOT SOURCE_ROOT
#
# shmtool ls: what is there, in whatever state the programs are.
set -u
# Without it there are no directories of our own to write to.
. "$2/tests/support/segments.sh" || exit 1

# Wrong usage.
run
expect 64 'no command'
run nonsense
expect 64 'an unknown command'
expect_error "unknown command 'nonsense'" 'an unknown command'
run ls --nonsense
expect 64 'an unknown option'
expect_error "shmtool ls --help" 'an unknown option'
run ls nonsense
expect 64 'an argument too many'
run --help
expect 0 '--help'
expect_line '^  gc ' '--help'
run ls --help
expect 0 'ls --help'
expect_line '--json' 'ls --help'
run --version
expect 0 '--version'

MPROC_DIR=$MPROC_DIR/missing run ls
expect 1 'no such directory'
expect_error 'missing: No such file' 'no such directory'

# Live ones, named and not; a stopped one says no less.
hold jobs
named=$pid
hold -
anonymous=$pid
hold jobs open
second=$pid
signal "$named" STOP
run ls
expect 0 'ls'
expect_line "^jobs +[0-9a-f]{8} +1 MiB +4 MiB .* 2 +2 +4 +[a-z0-9]+ +[0-9]+ s +live +holder:$named$" \
	'a live segment'
expect_line "^anonymous +.* live +holder:$anonymous$" 'an anonymous segment'
run ls --json
expect 0 'ls --json'
jobs="one(j['segments'], name='jobs', linked=True)"
held="[s for s in j['segments'] if $anonymous in s['holders']]"
expect_json \
	"j['dir'] == '$MPROC_DIR'" \
	"$jobs['state'] == 'live'" \
	"$jobs['in_use'] is True" \
	"$jobs['linked'] is True" \
	"$jobs['path'] == '$MPROC_DIR/mproc.jobs'" \
	"$jobs['size'] == 1 << 20" \
	"$jobs['size_max'] == 4 << 20" \
	"0 < $jobs['used'] < 1 << 20" \
	"$jobs['processes'] == {'living': 2, 'dead': 0, 'slots': 8}" \
	"$jobs['threads'] == {'attached': 2, 'records': 16}" \
	"$jobs['objects'] == {'live': 4, 'damaged': 0, 'slots': 32}" \
	"$jobs['uid'] == $(id -u)" \
	"$jobs['mode'] == '0600'" \
	"$jobs['creator']['pid'] == $named" \
	"$jobs['persistent'] is False" \
	"len($jobs['id']) == 32" \
	"sorted($jobs['holders']) == sorted([$named, $second])" \
	"[(s['name'], s['state']) for s in $held] == [(None, 'live')]"

# A second look says the same, byte for byte.
only_jobs()
{
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
print(json.dumps([s for s in j["segments"] if s["name"] == "jobs" and s["linked"]]))' "$tmp/out"
}
before=$(only_jobs)
run ls --json
[ "$before" = "$(only_jobs)" ] || complain 'a second look differs'
signal "$named" CONT

# Of another directory only what a process has open is seen, and told apart.
other=$(mktemp -d "$MPROC_DIR/other.XXXX")
MPROC_DIR=$other run ls --json
expect_json "[(s['path'], s['state']) for s in j['segments'] if $second in s['holders']] == [('$MPROC_DIR/mproc.jobs', 'live')]"
MPROC_DIR=$other run ls
expect_line "^jobs \(elsewhere\) .* live +holder:$named$" 'a segment in another directory'

# The dead: one of two, then both.
end "$second" KILL
run ls --json
expect_json "$jobs['processes'] == {'living': 1, 'dead': 1, 'slots': 8}" \
	"$jobs['state'] == 'live'"
run ls
expect_line '^jobs .* 1\+1 dead ' 'a dead participant'
end "$named" SEGV
run ls
expect_line '^jobs .* 0\+2 dead .* dead ' 'a leftover'
run ls --json
expect_json "$jobs['state'] == 'dead'" "$jobs['in_use'] is False" "$jobs['holders'] == []"

# An anonymous segment goes with its last process.
end "$anonymous" KILL
run ls --json
expect_json "$held == []" \
	"not [s for s in j['segments'] if s['creator'] and s['creator']['pid'] == $anonymous]"

# Persistent; unlinked; all descriptors closed.
hold stays persistent
end "$pid" KILL
hold nameless
creator=$pid
hold nameless open
rm "$MPROC_DIR/mproc.nameless"
run ls
expect_line '^stays .* persistent ' 'a persistent one'
expect_line '^nameless \(unlinked\) .* 2 .* live ' 'one whose name was removed'
end "$pid" KILL
run ls --json
expect_json "[s['state'] for s in j['segments'] if $creator in s['holders']] == ['live']"
end "$creator" KILL
if [ "$(id -u)" = 0 ]; then
	hold - close
	run ls --json
	expect_json "len([s for s in j['segments'] if $pid in s['holders']]) == 1"
	end "$pid" KILL
fi

# What only has the name of a segment, or has been one.
head -c 10000 /dev/urandom >"$MPROC_DIR/mproc.noise"
: >"$MPROC_DIR/mproc.empty"
mkdir "$MPROC_DIR/mproc.directory"
ln -s /etc/passwd "$MPROC_DIR/mproc.link"
mkfifo "$MPROC_DIR/mproc.fifo"
printf x >"$MPROC_DIR/mproc.ev$(printf '\033[31m')il"

# altered NAME OFFSET BYTES: a copy of a segment with other bytes in it.
altered()
{
	cp "$MPROC_DIR/mproc.stays" "$MPROC_DIR/mproc.$1"
	printf '%b' "$3" | dd of="$MPROC_DIR/mproc.$1" bs=1 seek="$2" conv=notrunc status=none
}
altered foreign 16 '\x63'
altered swapped 8 '\x01\x02\x03\x04'
altered corrupt 40 '\xff\xff\xff\xff\xff\xff\xff\xff'
altered half 0 ''
truncate -s 524288 "$MPROC_DIR/mproc.half"
run ls
expect 0 'ls of strange files'
expect_line '^noise .* alien: ' 'noise'
expect_line '^empty .* alien: ' 'an empty file'
expect_line '^directory .* unreadable: it is no regular file' 'a directory'
expect_line '^link .* unreadable: it is a symbolic link' 'a link'
expect_line '^fifo .* unreadable: it is no regular file' 'a fifo'
expect_line '^ev\\x1b\[31mil .* alien' 'an escape sequence'
expect_line '^foreign .* foreign layout 99' 'another layout'
expect_line '^swapped .* foreign: byte order' 'another byte order'
expect_line '^corrupt .* corrupt: ' 'an impossible size'
expect_line '^half .* corrupt: the file has 524288 bytes' 'half a file'
run ls --json
expect_json "one(j['segments'], name=r'ev\\x1b[31mil')['state'] == 'alien'" \
	"one(j['segments'], name='foreign')['layout'] == 99" \
	"one(j['segments'], name='foreign')['size'] is None" \
	"one(j['segments'], name='corrupt')['why']"

# Another user sees what he may see, and is told what not.
if [ "$(id -u)" = 0 ] && id nobody >/dev/null 2>&1; then
	hold secret
	chmod 755 "$MPROC_DIR"
	# Where the build lies he may not come.
	cp "$shmtool" "$tmp/shmtool"
	timeout 60 setpriv --reuid=nobody --regid=nogroup --clear-groups "$tmp/shmtool" ls \
		>"$tmp/out" 2>"$tmp/err"
	status=$?
	expect 0 'ls as nobody'
	expect_line '^secret .* root .* unreadable: Permission denied' "another's segment"
	expect_error '[0-9]+ processes may not be looked into' 'hidden processes'
fi
exit $bad
