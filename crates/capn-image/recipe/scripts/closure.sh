#!/bin/sh
# Writes to OUTPUT which files of TARGET the programs need to run elsewhere: for each program a
# line "PROGRAM FILE" per shared library, none for a static one.
# TARGET DEBS FOLDER (mounted at /mnt in the target) PROGRAMS OUTPUT
set -eu
. "$SCRIPTS/chroot.sh"
open_target
[ -z "${FOLDER:-}" ] || mount --bind "$FOLDER" "$TARGET/mnt"
: >"$OUTPUT"
for program in $PROGRAMS; do
    # Fails for a static program, which is what most are.
    in_target ldd "$program" 2>/dev/null |
        sed -n "s|^.*=> \(/[^ ]*\) (0x.*|$program \1|p; s|^[[:space:]]*\(/[^ ]*\) (0x.*|$program \1|p" >>"$OUTPUT" || true
done
[ -z "${FOLDER:-}" ] || umount "$TARGET/mnt"
close_target
