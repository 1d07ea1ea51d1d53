#!/bin/sh
# Imports container images into TARGET's containerd, unpacked, so that a node that boots has
# them and a pod starts without a registry.
# TARGET DEBS ARCHIVE (OCI layout, tar) STORE (an empty folder)
set -eu
. "$SCRIPTS/chroot.sh"
open_target
# The two that containerd runs, and that nothing here does.
for program in "runc --version" "containerd-shim-runc-v2 -v"; do
    in_target $program >/dev/null || { echo "${program% *} does not run on this base" >&2; exit 1; }
done
# containerd mounts overlays of its own, which cannot lie in an overlay.
mkdir -p "$TARGET/var/lib/containerd"
mount --bind "$STORE" "$TARGET/var/lib/containerd"
mkdir -p "$TARGET/run/capn-build"
mount --bind "${ARCHIVE%/*}" "$TARGET/run/capn-build"
cat >"$TARGET/tmp/containerd.toml" <<-END
	version = 2
	state = "/run/containerd"
	disabled_plugins = [
	  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
	  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
	  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
	  "io.containerd.snapshotter.v1.zfs",
	]
	[debug]
	  level = "warn"
	[grpc]
	  address = "/run/containerd.sock"
	END
in_target sh -c 'echo $$ >/run/containerd.pid; exec containerd --config /tmp/containerd.toml' &
job=$!
ctr() { in_target ctr --address /run/containerd.sock --namespace k8s.io "$@"; }
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] && kill -0 "$job" || { echo "containerd does not answer" >&2; exit 1; }
    sleep 0.1
done
ctr images import "/run/capn-build/${ARCHIVE##*/}"
# The packed layers are spent; what the images consist of is in the snapshots. Lets go of them,
# and collects the garbage before it returns.
ctr content prune references
for image in $(ctr images list -q); do
    # Never collected as unused: there may be nowhere to get it again.
    ctr images label "$image" io.cri-containerd.image=managed io.cri-containerd.pinned=pinned >/dev/null
done
kill "$(cat "$TARGET/run/containerd.pid")"
wait "$job" || true
umount "$TARGET/run/capn-build" "$TARGET/var/lib/containerd"
close_target
# Leftovers, and the identity that each node's containerd makes for itself.
rm -rf "$STORE"/io.containerd.content.v1.content/ingest/* "$STORE/tmpmounts" \
    "$STORE/io.containerd.grpc.v1.introspection"
rm -rf "$UPPER/var/lib/containerd"
mkdir -p "$UPPER/var/lib"
mv "$STORE" "$UPPER/var/lib/containerd"
