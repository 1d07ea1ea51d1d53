#!/bin/sh
# Makes a distribution with systemd in TARGET.
# SUITE MIRROR SECURITY_MIRROR COMPONENTS KEYRING FALLBACK_SCRIPT PACKAGES DEBS TARGET [APT_PROXY]
set -eu
. "$SCRIPTS/chroot.sh"

echo "debootstrap $SUITE from $MIRROR"
mkdir -p "$TARGET/etc/dpkg/dpkg.cfg.d"
cat >"$TARGET/etc/dpkg/dpkg.cfg.d/capn-build" <<-END
	force-unsafe-io
	path-exclude=/usr/share/doc/*
	path-include=/usr/share/doc/*/copyright
	path-exclude=/usr/share/info/*
	path-exclude=/usr/share/locale/*
	path-exclude=/usr/share/man/*
	END
# A debootstrap that is older than the suite knows how to make its family.
script=
[ -e "/usr/share/debootstrap/scripts/$SUITE" ] || script="$FALLBACK_SCRIPT"
http_proxy="${http_proxy:-${APT_PROXY:-}}" debootstrap --variant=minbase --keyring="$KEYRING" \
    --cache-dir="$DEBS" "$SUITE" "$TARGET" "$MIRROR" $script

rm -f "$TARGET/etc/apt/sources.list"
cat >"$TARGET/etc/apt/sources.list.d/capn.sources" <<-END
	Types: deb
	URIs: $MIRROR
	Suites: $SUITE $SUITE-updates
	Components: $COMPONENTS
	Signed-By: $KEYRING

	Types: deb
	URIs: $SECURITY_MIRROR
	Suites: $SUITE-security
	Components: $COMPONENTS
	Signed-By: $KEYRING
	END
open_target
echo "security updates, and installing $PACKAGES"
apt update
apt -y dist-upgrade
# Not by debootstrap, which takes twice the time for them and not their newest versions.
apt -y install $PACKAGES
date="$(lists_date)"
close_target
trim_target
settle_times "$date"
