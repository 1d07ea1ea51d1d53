# A dedicated virtual machine: started, accessed over SSH, stopped by its process id. Sourced by run.
# shellcheck shell=bash disable=SC2154,SC2317 # cache and shares are set by run

vm=$cache/vm
vm_port=${CAPN_HOST_VM_PORT:-2299}
vm_memory=${CAPN_HOST_VM_MEMORY:-6144}

# The process id of qemu while it runs; the id may have been reused since.
vm_pid() {
  local pid
  pid=$(cat "$vm/pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | has -xF "$vm/pid" && echo "$pid"
}

# vm_ssh SECONDS COMMAND... : in the machine, as root.
vm_ssh() {
  local seconds=$1
  shift
  timeout "$seconds" ssh -q -i "$cache/base/key" -p "$vm_port" -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=60 root@127.0.0.1 "$@" </dev/null
}
vm_boot_id() { vm_ssh 60 cat /proc/sys/kernel/random/boot_id; }

# vm_launch kvm|tcg : qemu in the background.
vm_launch() {
  local how=() tag more=''
  case $1 in
    kvm) how=(-accel kvm -cpu host) ;;
    # Five-level page tables only cost time; the processor's clock is the cheapest.
    tcg) how=(-accel 'tcg,thread=multi,tb-size=1024' -cpu 'max,la57=off') more='tsc=reliable clocksource=tsc mitigations=off' ;;
  esac
  for tag in "${!shares[@]}"; do
    how+=(-virtfs "local,path=${shares[$tag]},mount_tag=$tag,security_model=none,readonly=on,multidevs=remap")
  done
  rm -f "$vm/pid" "$vm/console.log"
  nice -n "${CAPN_HOST_VM_NICE:-10}" qemu-system-x86_64 -name capn-host-vm -machine q35 "${how[@]}" -smp 2 -m "$vm_memory" \
    -nodefaults -display none -serial "file:$vm/console.log" -qmp "unix:$vm/qmp,server=on,wait=off" \
    -drive "file=$vm/disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap" \
    -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$vm_port-:22" -device virtio-net-pci,netdev=net,romfile= \
    -device virtio-rng-pci -kernel "$cache/base/vmlinuz" -initrd "$cache/base/initrd.img" \
    -append "root=/dev/vda rw console=ttyS0 earlyprintk=ttyS0 $more" -pidfile "$vm/pid" -daemonize
}

# Whether a kernel boots with KVM within a minute. Nested KVM may fail to boot.
vm_kvm_boots() {
  [ -w /dev/kvm ] && vm_launch kvm && until_seconds 60 grep -qa 'Linux version' "$vm/console.log"
}
# until_seconds SECONDS COMMAND... : time limit independent of the machine's speed.
until_seconds() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $deadline ] || ! vm_pid >/dev/null; then return 1; fi
    sleep 0.5
  done
}

# Detects the accelerator once.
vm_choose() {
  if [ ! -s "$cache/accelerator" ]; then
    local found=${CAPN_HOST_VM_ACCELERATOR:-}
    if [ -z "$found" ]; then
      found=tcg
      if vm_kvm_boots; then found=kvm; fi
      vm_kill
    fi
    echo "$found" >"$cache/accelerator"
  fi
  vm_accelerator=$(cat "$cache/accelerator")
  if [ "$vm_accelerator" = tcg ]; then patience=${CAPN_TEST_PATIENCE:-6}; fi
}

vm_fresh() { rm -rf "$vm" && mkdir -p "$vm" && qemu-img create -q -f qcow2 -b "$cache/base/root.img" -F raw "$vm/disk.qcow2"; }
vm_start() { vm_launch "$vm_accelerator" && vm_answers; }
vm_answers() {
  until_seconds $((120 * patience)) vm_boot_id || { vm_console; return 1; }
}
# Reboots it from inside and waits for the next boot.
vm_reboot() {
  local before
  before=$(vm_boot_id) || return 1
  vm_ssh 60 systemctl reboot || true
  # shellcheck disable=SC2329 # called by until_seconds
  vm_other_boot() { local now; now=$(vm_boot_id) && [ "$now" != "$before" ]; }
  until_seconds $((180 * patience)) vm_other_boot || { vm_console; return 1; }
}
vm_console() { echo "the end of $vm/console.log:"; tail -n 25 "$vm/console.log" | tr -d '\r'; }

vm_kill() {
  local pid deadline=$((SECONDS + 30))
  pid=$(vm_pid) || return 0
  kill "$pid"
  while vm_pid >/dev/null; do
    if [ $SECONDS -ge $deadline ]; then kill -KILL "$pid"; fi
    sleep 0.2
  done
}
vm_stop() {
  vm_pid >/dev/null || return 0
  vm_ssh 60 systemctl poweroff || true
  local deadline=$((SECONDS + 60 * patience))
  while vm_pid >/dev/null && [ $SECONDS -lt $deadline ]; do sleep 0.5; done
  vm_kill
}
