//! Texts of the Debian package.

/// Maintainer of the package.
pub(super) const MAINTAINER: &str = "The capn authors <capn@users.noreply.github.com>";

pub(super) const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: capn
Source: https://github.com/capn-rs/capn

Files: *
Copyright: The capn authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems, the full text of the Apache License version 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
";

/// Unit of `capn serve`. It runs as root, which owns the sockets of Incus and LXD, but without
/// capabilities and with little access to the host.
pub(super) const UNIT: &str = "\
[Unit]
Description=capn management plane
Documentation=https://github.com/capn-rs/capn
Wants=network-online.target
After=network-online.target incus.service lxd.service

[Service]
ExecStart=/usr/bin/capn --state-dir /var/lib/capn/state serve
Restart=on-failure
RestartSec=5s
# A file descriptor for each connection; capn raises the soft limit itself.
LimitNOFILE=65536
StateDirectory=capn/state
StateDirectoryMode=0700
Environment=HOME=/var/lib/capn/state
UMask=0077

CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
";

pub(super) const POSTINST: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # A service that runs goes on with the new binary; one that does not is left alone.
    systemctl try-restart capn.service
fi
";

pub(super) const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now capn.service
fi
";

pub(super) const POSTRM: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
# The state is kept, also when the package is purged: it says which instances are whose.
";
