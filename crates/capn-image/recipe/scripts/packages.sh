#!/bin/sh
# Installs the packages of a role in TARGET.
# PACKAGES DEBS TARGET EPOCH_FILE [APT_PROXY] [EXTRA_SUITE EXTRA_PACKAGES MIRROR]
set -eu
. "$SCRIPTS/chroot.sh"
open_target

if [ -n "${EXTRA_SUITE:-}" ]; then
    # Only the named packages come from the newer suite; everything else stays.
    cat >"$TARGET/etc/apt/sources.list.d/$EXTRA_SUITE.sources" <<-END
	Types: deb
	URIs: $MIRROR
	Suites: $EXTRA_SUITE
	Components: main
	Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
    cat >"$TARGET/etc/apt/preferences.d/$EXTRA_SUITE" <<-END
	Package: *
	Pin: release n=$EXTRA_SUITE
	Pin-Priority: -10

	Package: $EXTRA_PACKAGES
	Pin: release n=$EXTRA_SUITE
	Pin-Priority: 990
	END
fi
echo "package lists"
apt update
echo "installing $PACKAGES"
apt -y install $PACKAGES

# The moment of the newest package list stands for the time of the whole image.
cat "$TARGET"/var/lib/apt/lists/*_InRelease | sed -n 's/^Date: //p' |
    while read -r date; do date -u -d "$date" +%s; done | sort -n | tail -n 1 >"$EPOCH_FILE"

close_target

# What no instance reads. Fewer files make every instance faster to create.
rm -rf "$TARGET"/var/lib/apt/lists/* "$TARGET"/var/cache/apt/*.bin "$TARGET"/var/cache/debconf/*-old \
    "$TARGET"/var/lib/dpkg/*-old "$TARGET"/var/cache/ldconfig "$TARGET"/var/log/apt \
    "$TARGET"/var/log/*.log "$TARGET"/var/log/fsck "$TARGET"/var/log/journal \
    "$TARGET"/var/lib/systemd/random-seed "$TARGET"/etc/*- "$TARGET"/etc/.pwd.lock \
    "$TARGET"/var/lib/dbus/machine-id "$TARGET"/etc/hostname "$TARGET"/boot/* \
    "$TARGET"/usr/share/locale "$TARGET"/usr/share/man "$TARGET"/usr/share/info \
    "$TARGET"/usr/share/i18n "$TARGET"/usr/share/lintian "$TARGET"/usr/share/zoneinfo/right \
    "$TARGET"/usr/share/zoneinfo/posix "$TARGET"/usr/lib/udev/hwdb.d "$TARGET"/usr/lib/udev/hwdb.bin
