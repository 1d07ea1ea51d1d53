#!/bin/sh
# Enables and masks units in TARGET, whose files are in place, and does what a role has besides.
# TARGET DEBS ROLE UNITS MASKED
set -eu
. "$SCRIPTS/chroot.sh"
open_target
in_target systemctl --quiet enable $UNITS
for unit in $MASKED; do ln -sf /dev/null "$TARGET/etc/systemd/system/$unit"; done
if [ -e "$SCRIPTS/$ROLE.sh" ]; then
    . "$SCRIPTS/$ROLE.sh"
fi
close_target
