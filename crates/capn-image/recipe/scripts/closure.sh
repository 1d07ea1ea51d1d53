#!/bin/sh
# Writes to OUTPUT what ldd says of FILES, which container images are made from.
# TARGET DEBS FOLDER (mounted at /mnt in the target) FILES OUTPUT
set -eu
. "$SCRIPTS/chroot.sh"
open_target
[ -z "${FOLDER:-}" ] || mount --bind "$FOLDER" "$TARGET/mnt"
# Static programs make it fail, and most are.
in_target ldd $FILES >"$OUTPUT" 2>/dev/null || true
[ -z "${FOLDER:-}" ] || umount "$TARGET/mnt"
close_target
