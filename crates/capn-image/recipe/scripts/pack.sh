#!/bin/sh
# Takes out of TARGET what belongs to the build, sets times, and packs it into OUTPUT.
# TARGET EPOCH OUTPUT
set -eu
rm -rf "$TARGET"/var/lib/apt/lists/* "$TARGET"/var/cache/apt/*.bin "$TARGET"/var/cache/debconf/*-old \
    "$TARGET"/var/lib/dpkg/*-old "$TARGET"/var/cache/ldconfig "$TARGET"/var/log/apt \
    "$TARGET"/var/log/*.log "$TARGET"/var/log/fsck "$TARGET"/var/lib/systemd/random-seed \
    "$TARGET"/etc/*- "$TARGET"/etc/.pwd.lock "$TARGET"/root/.bash_history "$TARGET"/boot/* \
    "$TARGET"/var/lib/dbus/machine-id "$TARGET"/etc/hostname "$TARGET"/usr/share/locale \
    "$TARGET"/usr/share/man "$TARGET"/usr/share/info "$TARGET"/var/log/journal
: >"$TARGET/etc/machine-id"
: >"$TARGET/etc/.updated"
: >"$TARGET/var/.updated"
# Same inputs, same bytes: no file is newer than the package lists it was built from.
find "$TARGET" -xdev -newermt "@$EPOCH" -print0 | xargs -0r touch -h -d "@$EPOCH"
rm -f "$OUTPUT"
mksquashfs "$TARGET" "$OUTPUT" -noappend -quiet -no-progress -mkfs-time "$EPOCH" $COMPRESSION
