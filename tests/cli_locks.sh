#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# cli_locks.sh BUILD_ROOT SOURCE_ROOT
#
# shmtool locks: who holds and waits, and deadlocks, in one segment and through two.
set -u
# Without it there are no directories of our own to write to.
. "$2/tests/support/segments.sh" || exit 1

run locks
expect 64 'no segment'
run locks --nonsense
expect 64 'an unknown option'
run locks --help
expect 0 '--help'
expect_line '2 if there is one' 'the exit status in --help'
run locks nothing
expect 1 'an unknown name'
expect_error 'nothing: no segment' 'an unknown name'
run locks /etc/passwd
expect 1 'a file that is no segment'
expect_error 'it is no segment' 'a file that is no segment'

waiters() # N SEGMENT...
{
	local n=$1

	shift
	run locks --json "$@"
	[ "$(python3 -c 'import json, sys
print(sum(len(l["waiters"]) for l in json.load(open(sys.argv[1]))["locks"]))' "$tmp/out")" = "$n" ]
}

# Held, and nobody waits.
hold bank hold:alice want:bob
first=$pid
run locks bank
expect 0 'a held lock'
expect_line '^locks held or waited for: 1$' 'a held lock'
expect_line "^  mutex at 64 in block alice +mutex +pid $first tid [0-9]+ \(abba\) +alive +- +-$" \
	'a held lock'

# Two that wait for each other.
hold bank open hold:bob want:alice
second=$pid
signal "$first" USR1
wait_until waiters 1 bank
run locks bank
expect 0 'one that waits'
expect_line "block bob +mutex +pid $second .* alive +- +pid $first tid [0-9]+ \(abba\) for [0-9.]+ s$" \
	'the waiter'
expect_line "block alice +mutex +pid $first .* alive +[0-9]+\.[0-9]+ s +-$" 'held at least'
grep -q deadlock "$tmp/out" && complain 'a deadlock of one'
signal "$second" USR1
wait_until waiters 2 bank
run locks bank
expect 2 'a deadlock'
expect_line '^deadlock:$' 'a deadlock'
expect_line "^  pid $first tid [0-9]+ \(abba\) waits for mutex at 64 in block bob for [0-9.]+ s, held by pid $second tid [0-9]+ \(abba\)$" \
	'the first edge'
expect_line "^  pid $second tid [0-9]+ \(abba\) waits for mutex at 64 in block alice for [0-9.]+ s, held by pid $first tid [0-9]+ \(abba\)$" \
	'the second edge'
[ "$(grep -c '^deadlock:' "$tmp/out")" = 1 ] || complain 'it is told more than once'

run locks --json bank bank
expect 2 'a deadlock --json'
expect_json \
	"len(j['locks']) == 2 and len(j['deadlocks']) == 1 and len(j['deadlocks'][0]) == 2" \
	"[e['waiter']['pid'] for e in j['deadlocks'][0]] == [$second, $first]" \
	"[e['holder']['pid'] for e in j['deadlocks'][0]] == [$first, $second]" \
	"[e['lock']['object'] for e in j['deadlocks'][0]] == ['alice', 'bob']" \
	"all(e['lock']['segment'] == 'bank' and e['lock']['kind'] == 'mutex' for e in j['deadlocks'][0])" \
	"all(e['waiter']['exe'] == 'holder' and e['waiter']['name'] == 'abba' for e in j['deadlocks'][0])" \
	"all(e['waiter']['waited_ns'] > 0 and not e['waiter']['deadline'] for e in j['deadlocks'][0])" \
	"all(l['held_at_least_ns'] > 0 and len(l['waiters']) == 1 for l in j['locks'])" \
	"all(l['lock']['text'] == 'mutex at 64 in block ' + l['lock']['object'] for l in j['locks'])"

# Stopped ones deadlock as well; a third who waits for them is in no deadlock of its own.
signal "$first" STOP
hold bank open hold:carol want:alice deadline
third=$pid
signal "$third" USR1
wait_until waiters 3 bank
run locks bank
expect 2 'a stopped one'
expect_line "block alice +mutex +pid $first .* stopped " 'a stopped holder'
expect_line "pid $third tid [0-9]+ \(abba\) for [0-9.]+ s with a deadline" 'a deadline'
[ "$(grep -c 'waits for' "$tmp/out")" = 2 ] || complain 'a third in a deadlock of two'

# A copy says the same, but of nobody whether he lives.
cp "$MPROC_DIR/mproc.bank" "$tmp/bank"
run locks "$tmp/bank"
expect 2 'a copy'
expect_line ' unknown ' 'a participant of a copy'

# Whatever the bytes are, it ends, prints text, and says so if it is wrong.
python3 - "$tmp" <<-'PYTHON' || complain 'no images were made'
	import random, struct, sys
	image = open(f"{sys.argv[1]}/bank", "rb").read()
	random.seed(7)
	values = [0, 1, 2, 3, 0xff, 0xffff, 0xffffffff, 1 << 31, 1 << 40, 1 << 56, (1 << 64) - 1]
	# The offset and length of the registry stand first among the sections.
	off, length = struct.unpack_from("<QQ", image, 64)
	for i in range(40):
	    b = bytearray(image)
	    for _ in range(random.choice([1, 20, 2000])):
	        low, high = (8192, 8192 + 32768) if i % 4 else (0, len(b) - 8)
	        at = random.randrange(low, high) & ~7
	        v = random.choice(values + [random.getrandbits(64)] * 2)
	        v |= random.choice([0, 1 << 56])
	        b[at : at + 8] = struct.pack("<Q", v & (1 << 64) - 1)
	    if i % 10 == 9:
	        del b[random.randrange(len(b)) :]
	    open(f"{sys.argv[1]}/image.{i}", "wb").write(b)
PYTHON
for image in "$tmp"/image.*; do
	run locks "$image"
	[ "$status" -le 2 ] || complain "$image: exit status $status"
	[ -s "$tmp/out" ] || [ -s "$tmp/err" ] || complain "$image: no word"
	run locks --json "$image" "$MPROC_DIR/mproc.bank"
	[ "$status" -le 2 ] || complain "$image --json: exit status $status"
	[ "$status" = 1 ] || python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$tmp/out" ||
		complain "$image: JSON is none"
done

# Killed: what it held is inherited, and there is no deadlock any more.
end "$first" KILL
run locks bank
expect 0 'a dead one'
grep -q '^deadlock' "$tmp/out" && complain 'the dead are in no deadlock'
end "$second" KILL
end "$third" KILL
run locks bank
expect 0 'a leftover'
expect_line ' dead ' 'a leftover'

# Through two segments: neither alone says so, both together do.
hold right
other=$pid
hold left hold:a want:b in:right
first=$pid
hold right open hold:b want:a in:left
second=$pid
signal "$first" USR1
signal "$second" USR1
wait_until waiters 2 left right
run locks left
expect 0 'half of a deadlock'
run locks right
expect 0 'the other half of a deadlock'
run locks left right
expect 2 'a deadlock through two segments'
expect_line "^  pid $first tid [0-9]+ \(abba\) waits for mutex at 64 in block b of segment right for [0-9.]+ s, held by pid $second " \
	'a lock of the other segment'
expect_line "^  pid $second tid [0-9]+ \(abba\) waits for mutex at 64 in block a of segment left for [0-9.]+ s, held by pid $first " \
	'a lock of the one segment'
run locks left
grep -q 'both orders' "$tmp/out" && complain 'an order that nobody records'
run locks --json right left
expect 2 'a deadlock through two segments --json'
expect_json "sorted(e['lock']['segment'] for e in j['deadlocks'][0]) == ['left', 'right']"
expect_json "j['orders'] == []"
end "$first" KILL
run locks left right
expect 0 'after a death'
end "$second" KILL
end "$other" KILL

# Both orders, and no deadlock: said all the same, also of a copy.
hold order ordered hold:left want:right
first=$pid
run locks order
expect 0 'no order yet'
expect_line '^locks taken in both orders: 0$' 'no order yet'
hold order open hold:up want:down both
second=$pid
for what in order "$MPROC_DIR/mproc.order"; do
	run locks "$what"
	expect 0 'both orders'
	expect_line '^locks taken in both orders: 1$' 'both orders'
	[ "$(grep -c '^  order: ' "$tmp/out")" = 1 ] || complain 'it is told more than once'
	expect_line '^  order: (mutex at 64 in block (up|down)) before (mutex at 64 in block (up|down)) and \3 before \1$' \
		'both orders'
done
run locks --json order
expect 0 'both orders --json'
expect_json \
	"len(j['orders']) == 1 and j['orders'][0]['segment'] == 'order'" \
	"j['orders'][0]['dropped'] == 0 and len(j['orders'][0]['pairs']) == 1" \
	"sorted(l['object'] for l in j['orders'][0]['pairs'][0]) == ['down', 'up']" \
	"all(l['text'] == 'mutex at 64 in block ' + l['object'] for l in j['orders'][0]['pairs'][0])" \
	"j['orders'][0]['pairs'][0][0]['offset'] < j['orders'][0]['pairs'][0][1]['offset']"

# A record of any bytes ends, prints text, and is what it says in JSON.
python3 - "$tmp" "$MPROC_DIR/mproc.order" <<-'PYTHON' || complain 'no images were made'
	import random, struct, sys
	image = open(sys.argv[2], "rb").read()
	random.seed(11)
	off, length = struct.unpack_from("<QQ", image, 64)
	low = off + length - 18496
	for i in range(12):
	    b = bytearray(image)
	    if i < 4:
	        b[low : off + length] = bytes([i * 85]) * 18496
	    else:
	        for at in range(low, off + length, 8):
	            v = random.getrandbits(64) if i % 2 else random.choice([1, 10]) << 56
	            v |= random.choice([0, random.randrange(len(b)) & ~7])
	            struct.pack_into("<Q", b, at, v)
	    if i == 11:
	        del b[low + 100 :]
	    open(f"{sys.argv[1]}/order.{i}", "wb").write(b)
PYTHON
for image in "$tmp"/order.*; do
	run locks "$image"
	[ "$status" -le 2 ] || complain "$image: exit status $status"
	[ -s "$tmp/out" ] || [ -s "$tmp/err" ] || complain "$image: no word"
	run locks --json "$image"
	[ "$status" -le 2 ] || complain "$image --json: exit status $status"
	[ "$status" = 1 ] || python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$tmp/out" ||
		complain "$image: JSON is none"
done
run locks "$tmp/order.5"
expect_line '^  not recorded, since there are more than 256 locks: [0-9]+ calls$' 'a full table'
end "$second" KILL
end "$first" KILL
exit $bad
