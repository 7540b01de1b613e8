#!/bin/sh
# SPDX-License-Identifier: MIT
#
# link_pages.sh ROOT MANDIR: man mproc_error_text shows mproc_error(3)
#
# meson runs this at the end of an installation.
set -eu

root=$1
case $2 in
/*) man=${DESTDIR-}$2 ;;
*) man=$MESON_INSTALL_DESTDIR_PREFIX/$2 ;;
esac

for header in "$root"/include/mproc/*.h; do
	page=mproc_$(basename "$header" .h).3
	[ -f "$man/man3/$page" ] || continue
	for name in $("$root/tests/functions.sh" "$header"); do
		# Header "task" declares mproc_task(): the page has that name already.
		[ "$name.3" = "$page" ] || ln -sf "$page" "$man/man3/$name.3"
	done
done
