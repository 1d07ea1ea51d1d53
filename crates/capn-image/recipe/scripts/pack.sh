#!/bin/sh
# Sets what has to be empty in a new instance, sets times, and packs TARGET into OUTPUT.
# TARGET EPOCH OUTPUT COMPRESSION
set -eu
# Empty, not absent: each instance makes its own id, and it is not treated as a first boot with
# all units set to their presets.
: >"$TARGET/etc/machine-id"
: >"$TARGET/etc/.updated"
: >"$TARGET/var/.updated"
# Same inputs, same bytes: no file is newer than the package lists it was built from.
find "$TARGET" -xdev -newermt "@$EPOCH" -print0 | xargs -0r touch -h -d "@$EPOCH"
rm -f "$OUTPUT"
mksquashfs "$TARGET" "$OUTPUT" -noappend -quiet -no-progress -mkfs-time "$EPOCH" $COMPRESSION
