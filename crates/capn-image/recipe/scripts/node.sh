# Sourced by configure.sh for a node: what is not a file.
mkdir -p "$TARGET/opt/cni" "$TARGET/etc/cni/net.d" "$TARGET/etc/capn" "$TARGET/etc/containerd/certs.d" \
    "$TARGET/etc/containerd/conf.d"
ln -sfn /usr/lib/cni "$TARGET/opt/cni/bin"
ln -sfn config.default.toml "$TARGET/etc/containerd/config.toml"
# Shims of containerd's former runtime interface.
rm -f "$TARGET/usr/bin/containerd-shim" "$TARGET/usr/bin/containerd-shim-runc-v1"
