# Sourced by the steps. Everything is mounted in this step's namespace only.
#
# The root file system is TARGET: a plain folder or, where LOWER is set, an overlay of UPPER over
# the folders of LOWER (separated by colons), with WORK for the kernel. Nothing of LOWER changes.

mount_target() {
    [ -z "${LOWER:-}" ] || mount -t overlay \
        -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" overlay "$TARGET"
}

unmount_target() {
    [ -z "${LOWER:-}" ] || umount "$TARGET"
}

# The newest date of the package lists, in seconds since 1970.
lists_date() {
    cat "$TARGET"/var/lib/apt/lists/*_InRelease | sed -n 's/^Date: //p' |
        while read -r date; do date -u -d "$date" +%s; done | sort -n | tail -n 1
}

# What no instance reads. Fewer files make every instance faster to create and to delete.
trim_target() {
    rm -rf "$TARGET"/var/lib/apt/lists/* "$TARGET"/var/cache/apt/*.bin \
        "$TARGET"/var/cache/apt/archives/*.deb \
        "$TARGET"/var/cache/debconf/*-old "$TARGET"/var/lib/dpkg/*-old \
        "$TARGET"/var/cache/ldconfig "$TARGET"/var/log/apt "$TARGET"/var/log/*.log \
        "$TARGET"/var/log/fsck "$TARGET"/var/log/journal "$TARGET"/var/lib/systemd/random-seed \
        "$TARGET"/etc/*- "$TARGET"/etc/.pwd.lock "$TARGET"/var/lib/dbus/machine-id \
        "$TARGET"/etc/hostname "$TARGET"/boot/* "$TARGET"/usr/share/locale \
        "$TARGET"/usr/share/man "$TARGET"/usr/share/info "$TARGET"/usr/share/i18n \
        "$TARGET"/usr/share/lintian "$TARGET"/usr/share/zoneinfo/right \
        "$TARGET"/usr/share/zoneinfo/posix "$TARGET"/usr/lib/udev/hwdb.d \
        "$TARGET"/usr/lib/udev/hwdb.bin
}

# Same inputs, same bytes: no file is newer than the package lists it was made from.
settle_times() {
    find "$TARGET" -xdev -newermt "@$1" -print0 | xargs -0r touch -h -d "@$1"
}

# For running the target's own programs. Needs DEBS.
open_target() {
    mount_target
    mount -t proc proc "$TARGET/proc"
    mount -t tmpfs -o mode=0755,size=4m dev "$TARGET/dev"
    for device in null zero full random urandom tty; do
        : >"$TARGET/dev/$device"
        mount --bind "/dev/$device" "$TARGET/dev/$device"
    done
    ln -s /proc/self/fd "$TARGET/dev/fd"
    ln -s /proc/self/fd/0 "$TARGET/dev/stdin"
    ln -s /proc/self/fd/1 "$TARGET/dev/stdout"
    ln -s /proc/self/fd/2 "$TARGET/dev/stderr"
    mkdir "$TARGET/dev/shm"
    mount -t tmpfs -o mode=0755 run "$TARGET/run"
    mount -t tmpfs -o mode=1777 tmp "$TARGET/tmp"
    mkdir -p "$TARGET/run/lock" "$TARGET/var/cache/apt/archives"
    mount --bind "$DEBS" "$TARGET/var/cache/apt/archives"

    # No service is started while packages are configured.
    printf '#!/bin/sh\nexit 101\n' >"$TARGET/usr/sbin/policy-rc.d"
    chmod 0755 "$TARGET/usr/sbin/policy-rc.d"
    # Speed, and nothing that a node never reads; licences stay.
    cat >"$TARGET/etc/dpkg/dpkg.cfg.d/capn-build" <<-END
	force-unsafe-io
	path-exclude=/usr/share/doc/*
	path-include=/usr/share/doc/*/copyright
	path-exclude=/usr/share/info/*
	path-exclude=/usr/share/locale/*
	path-exclude=/usr/share/man/*
	END
    rm -f "$TARGET/etc/resolv.conf"
    cp -L /etc/resolv.conf "$TARGET/etc/resolv.conf"
}

in_target() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive PYTHONHASHSEED=0 TMPDIR=/tmp \
        SOURCE_DATE_EPOCH="${EPOCH:-0}" \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        ${no_proxy:+no_proxy="$no_proxy"} \
        chroot "$TARGET" "$@"
}

apt() {
    in_target apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false \
        -o Acquire::Retries=3 -o Acquire::Languages=none \
        -o Dpkg::Options::=--force-confold ${APT_PROXY:+-o Acquire::http::Proxy="$APT_PROXY"} "$@"
}

close_target() {
    rm -f "$TARGET/usr/sbin/policy-rc.d" "$TARGET/etc/dpkg/dpkg.cfg.d/capn-build"
    # The real name servers, not the local stub: kubelet hands this file on to pods.
    ln -sf ../run/systemd/resolve/resolv.conf "$TARGET/etc/resolv.conf"
    umount -R "$TARGET/var/cache/apt/archives" "$TARGET/tmp" "$TARGET/run" "$TARGET/dev" \
        "$TARGET/proc"
    unmount_target
}
