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
lists_date >"$EPOCH_FILE"
close_target
mount_target
trim_target
settle_times "$(cat "$EPOCH_FILE")"
unmount_target
