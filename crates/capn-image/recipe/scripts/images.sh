#!/bin/sh
# Imports container images into TARGET's containerd, unpacked, so that a node that boots has
# them and a pod starts without a registry.
# TARGET DEBS ARCHIVE (OCI layout, tar)
set -eu
. "$SCRIPTS/chroot.sh"
open_target
mkdir -p "$TARGET/run/capn-build"
mount --bind "${ARCHIVE%/*}" "$TARGET/run/capn-build"
cat >"$TARGET/tmp/containerd.toml" <<-END
	version = 2
	state = "/run/containerd"
	disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
	[grpc]
	  address = "/run/containerd.sock"
	END
in_target containerd --config /tmp/containerd.toml --log-level warn &
containerd=$!
ctr() { in_target ctr --address /run/containerd.sock --namespace k8s.io "$@"; }
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] && kill -0 "$containerd" || { echo "containerd does not answer" >&2; exit 1; }
    sleep 0.1
done
ctr images import --discard-unpacked-layers "/run/capn-build/${ARCHIVE##*/}"
for image in $(ctr images list -q); do
    # Never collected as unused: there may be nowhere to get it again.
    ctr images label "$image" io.cri-containerd.image=managed io.cri-containerd.pinned=pinned >/dev/null
done
kill "$containerd"
wait "$containerd" || true
umount "$TARGET/run/capn-build"
rm -rf "$TARGET"/var/lib/containerd/io.containerd.content.v1.content/ingest/* "$TARGET/var/lib/containerd/tmpmounts"
close_target
