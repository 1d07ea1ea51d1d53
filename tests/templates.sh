# The template of flavor development on the embedded plane: real instances, as set by PRIVILEGED.
# The image has no Kubernetes, so the bootstrap fails, after everything that is checked here.
# Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and capn_bin are set by ./test

template_cluster=capn-t-tpl
template_secret() {
  printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s-secret}\nstringData: {server: unix://}\n' \
    "$template_cluster" | capn apply -f - --wait 0
}
# with_flavor PRIVILEGED: applies, until the bootstrap fails.
with_flavor() {
  local text
  KUBERNETES_VERSION=v1.36.2 LXC_SECRET_NAME=$template_cluster-secret LXC_IMAGE_NAME=capn/node \
    LOAD_BALANCER_IMAGE_NAME=capn/haproxy CONTROL_PLANE_MACHINE_FLAVOR=c1-m1 PRIVILEGED=$1 \
    capn generate cluster "$template_cluster" --flavor development --workers 0 >"$scratch/template.yaml" || return 1
  if text=$(capn apply -f "$scratch/template.yaml" --wait 5m 2>&1); then echo "ready without kubeadm"; return 1; fi
  if ! grep -q 'kubeadm' <<<"$text"; then echo "$text"; return 1; fi
}
template_node() { instances_of "$template_cluster" | grep control-plane; }
template_gone() { capn delete cluster "$template_cluster" && [ -z "$(instances_of "$template_cluster")" ]; }
patch_of_kubelet=/etc/kubernetes/patches/kubeletconfiguration1+strategic.yaml
is_privileged() {
  [ "$(incus config get "$(template_node)" security.privileged)" = true ] &&
    ! incus exec "$(template_node)" -- test -e "$patch_of_kubelet"
}
is_unprivileged() {
  [ "$(incus config get "$(template_node)" security.privileged)" != true ] &&
    incus exec "$(template_node)" -- cat "$patch_of_kubelet" | has 'KubeletInUserNamespace: true' &&
    incus exec "$(template_node)" -- cat /etc/kubernetes/kube-proxy.yaml | has 'kind: KubeProxyConfiguration'
}

# Existing images are reused.
template_images() { capn image build node && capn image build haproxy; }
check 'provide images for nodes and load balancers' template_images
check 'apply the Secret of a template' template_secret
check 'the flavor development creates instances' with_flavor ''
check 'nodes are privileged if PRIVILEGED is not set' is_privileged
check 'delete them' template_gone
check 'the same with PRIVILEGED=false' with_flavor false
check 'nodes are unprivileged, and kubelet is configured for it' is_unprivileged
check 'delete them too' template_gone
