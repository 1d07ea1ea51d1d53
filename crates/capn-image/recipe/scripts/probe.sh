#!/bin/sh
# Fails where the cache folder's file system cannot be the upper part of an overlay.
set -eu
. "$SCRIPTS/chroot.sh"
mount_target
: >"$TARGET/file"
unmount_target
