#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cli_array.sh BUILD_ROOT SOURCE_ROOT
#
# Another language finds an array by what mproc_array(3) says of its place, views it
# without a copy, and writes it.
set -eu

command -v python3 >/dev/null || { echo "python3 is missing"; exit 77; }
tmp=$(mktemp -d /dev/shm/t_array.XXXXXX)
MPROC_DIR=$tmp
export MPROC_DIR
trap 'rm -rf "$tmp"' EXIT

cat >"$tmp/view.py" <<'END'
import mmap, os, struct, sys

KINDS = {(1, 1): "?", (2, 1): "b", (2, 2): "h", (2, 4): "i", (2, 8): "q",
         (3, 1): "B", (3, 2): "H", (3, 4): "I", (3, 8): "Q", (4, 4): "f", (4, 8): "d"}


def find(m, name):
    """The object of that name: its kind, its first byte and its length."""
    magic, order, bits = struct.unpack_from("<8sII", m, 0)
    assert magic == b"mproc\r\n\x1a" and order == 0x01020304
    n_objects, = struct.unpack_from("<I", m, 56)
    catalogue, = struct.unpack_from("<Q", m, 64 + 16 * 1)
    for i in range(n_objects):
        at = catalogue + 128 + 128 * i
        word, kind = struct.unpack_from("<QI", m, at)
        if word & 15 == 2 and m[at + 64:at + 128].rstrip(b"\0") == name.encode():
            off, _, length = struct.unpack_from("<QQQ", m, at + 24)
            return kind, off, length
    raise KeyError(name)


def view(m, name):
    kind, off, length = find(m, name)
    assert kind == 6
    layout, item, flags, n_dims, n, size, align, items = struct.unpack_from("<IBBBxQIHH", m, off)
    assert layout == 0x76000003
    shape = [n]
    if n_dims > 1:  # the last thing before the items, but for their alignment
        at = off + 32 + (0 if flags & 1 else 8 if flags & 2 else 24)
        if item == 5:
            at += 56
        if not flags & 1 and size not in (1, 2, 4, 8):
            at += 8
        shape = struct.unpack_from("<%dQ" % n_dims, m, at)
    return memoryview(m)[off + items:off + items + n * size].cast(KINDS[item, size], shape)


path = os.path.join(os.environ["MPROC_DIR"], "mproc." + sys.argv[1])
with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
    grid = view(m, sys.argv[2])
    print(grid.shape, grid.strides, grid[0, 1], grid[2, 3])
    if len(sys.argv) > 3:
        grid[1, 2] = float(sys.argv[3])
    grid.release()
END

mkfifo "$tmp/stdin"
"$1/tests/holder" "lang" grid <"$tmp/stdin" >"$tmp/holder" &
exec 3>"$tmp/stdin"
for _ in $(seq 100); do
	! grep -q ready "$tmp/holder" || break
	sleep 0.1
done
seen=$(python3 "$tmp/view.py" lang grid 6.625)
want='(3, 4) (32, 8) 0.1 2.3'
bad=0
[ "$seen" = "$want" ] || { echo "python3 saw '$seen', not '$want'"; bad=1; }
! python3 "$tmp/view.py" lang nothing 2>/dev/null || { echo "found what is not there"; bad=1; }
exec 3>&-
wait
wrote=$(tail -n 1 "$tmp/holder")
[ "$wrote" = 6.625 ] || { echo "python3 wrote 6.625, the holder sees '$wrote'"; bad=1; }
exit $bad
