#!/bin/sh
# Sets what has to be empty in a new instance, sets times, and packs TARGET into OUTPUT.
# TARGET EPOCH OUTPUT COMPRESSION
set -eu
. "$SCRIPTS/chroot.sh"
mount_target
# Empty, not absent: each instance makes its own id, and it is not treated as a first boot with
# all units set to their presets.
: >"$TARGET/etc/machine-id"
: >"$TARGET/etc/.updated"
: >"$TARGET/var/.updated"
settle_times "$EPOCH"
rm -f "$OUTPUT"
mksquashfs "$TARGET" "$OUTPUT" -noappend -quiet -no-progress -mkfs-time "$EPOCH" $COMPRESSION
unmount_target
