#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cli_pack.sh BUILD_ROOT SOURCE_ROOT
#
# A member that cannot be sent as its verb says stops the build, with the compiler's
# word for why; and the same struct with the right verbs compiles without a warning.
set -eu

include=$2/include
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0
used=

cat >"$tmp/pack.c" <<'END'
#include <mproc/task.h>

#include <stdbool.h>

typedef struct point { double x, y; } point;
typedef struct thing {
	void *pointer;
	int (*function)(void);
	char *s;
	const char *cs;
	char chars[8];
	unsigned char octets[8];
	double *v;
	const float *cv;
	double matrix[2][2];
	double arr[3];
	point in;
	point *own;
	uint32_t n;
	int sn;
	double d;
	long double ld;
	bool b;
	bool *bools;
	enum { ONE, TWO } e;
	const void *blob;
	unsigned bits : 3;
} thing;
int add(int, int);

MPROC_PACK_STRUCT(point, (val, x), (val, y));
MPROC_PACK_STRUCT(thing, FIELDS);
MPROC_TASK_DECLARE(int, add_up, ARGUMENTS);
MPROC_TASK(int, add_up, ARGUMENTS) { return 0; }
const void *use(mproc_pool *pool);
const void *use(mproc_pool *pool)
{
	return CALL ? (const void *)&mproc_pack_type_thing : pool;
}
END

right='(str, s), (str, cs), (chars, chars), (bytes, octets), (vec, v, n), (vec, cv, sn), (arr, arr),
	(in, in, point), (own, own, point), (val, n), (val, d), (val, b), (val, e),
	(bytes, blob, sn), (arr, octets)'
right=$(echo "$right" | tr '\n\t' '  ')

try() # COMPILER FIELDS ARGUMENTS CALL
{
	"$1" -std=c11 -pedantic-errors -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
		-Wno-unused-parameter -Werror -I "$include" -c -o "$tmp/pack.o" \
		"-DFIELDS=$2" "-DARGUMENTS=$3" "-DCALL=$4" "$tmp/pack.c" >"$tmp/log" 2>&1
}

refuses() # WHY FIELDS ARGUMENTS CALL: as try()
{
	why=$1
	shift
	if try "$compiler" "$@"; then
		echo "$compiler accepts: $*"
		bad=1
	elif ! grep -qE "error:.*($why)" "$tmp/log"; then
		echo "$compiler refuses $*, but not because of $why:"
		sed 's/^/	/' "$tmp/log"
		bad=1
	fi
}

for compiler in gcc clang; do
	command -v "$compiler" >/dev/null || continue
	used="$used $compiler"
	if ! try "$compiler" "$right" '(val, int, a), (in, point, p), (str, s), (bytes, b)' \
		'add_up_submit(pool, 1, (point *)0, "s", "b", 1)'; then
		echo "$compiler refuses what is right:"
		cat "$tmp/log"
		bad=1
	fi
	for field in '(val, pointer)' '(val, function)' '(val, s)' '(val, ld)' '(val, in)' '(val, own)' \
		'(val, v)' '(val, arr)' '(str, chars)' '(str, pointer)' '(str, v)' '(chars, s)' \
		'(chars, octets)' '(bytes, chars)' '(bytes, n)' '(bytes, v, n)' '(bytes, octets, n)' \
		'(bytes, blob, d)' '(vec, arr, n)' '(vec, s, n)' '(vec, bools, n)' '(vec, pointer, n)' \
		'(vec, v, d)' '(vec, v, b)' '(vec, v, s)' '(arr, v)' '(arr, chars)' '(arr, matrix)' \
		'(arr, n)' '(in, own, point)' '(in, d, point)' '(own, in, point)' '(own, v, point)' \
		'(own, pointer, point)'; do
		refuses '_Generic|not compatible with any' "$field" '(val, int, a)' '(pool)'
	done
	refuses 'nothere' '(val, nothere)' '(val, int, a)' '(pool)'
	refuses 'bit-field' '(val, bits)' '(val, int, a)' '(pool)'
	refuses 'nowhere' '(in, in, nowhere)' '(val, int, a)' '(pool)'
	eight='(val, n), (val, n), (val, n), (val, n), (val, n), (val, n), (val, n), (val, n)'
	refuses 'MPROC_PACK_takes_at_most_32_fields' "$eight, $eight, $eight, $eight, (val, n)" \
		'(val, int, a)' '(pool)'

	refuses '_Generic|not compatible with any' '(val, n)' '(val, void *, a)' '(pool)'
	refuses 'MPROC_TASK_takes_at_most_8_arguments' '(val, n)' \
		"$(echo a b c d e f g h i | sed 's/[a-i]/(val, int, &),/g; s/,$//')" '(pool)'
	refuses 'too many arguments' '(val, n)' '(val, int, a)' 'add_up_submit(pool, 1, 2)'
	refuses 'too few arguments' '(val, n)' '(val, int, a)' 'add_up_submit(pool)'
	refuses 'incompatible' '(val, n)' '(in, point, a)' 'add_up_submit(pool, &pool)'
	refuses 'without a cast|conversion' '(val, n)' '(val, int, a)' 'add_up_submit(pool, "1")'

	# One mistake is told in a screenful, not in a hundred lines.
	try "$compiler" "$right, (val, pointer)" '(val, int, a)' '(pool)' || :
	if [ "$(wc -l <"$tmp/log")" -gt 40 ]; then
		echo "$compiler takes $(wc -l <"$tmp/log") lines for one mistake"
		bad=1
	fi
done
echo "compilers:$used"
[ "$used" ] || { echo "no compiler found"; exit 77; }
exit $bad
