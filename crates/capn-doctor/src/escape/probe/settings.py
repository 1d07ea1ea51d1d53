# Settings of the host's kernel, in procfs and sysfs.


def proc_vector(name, family, patterns, back=False):
    vector(name, family)(lambda: writable("proc", patterns, back))


def sysfs_vector(name, family, patterns, back=False):
    vector(name, family)(lambda: writable("sysfs", patterns, back))


# Values that are the same for the whole host; each gets back what was read from it.
proc_vector("sysctl-kernel", "sysctl", ["sys/kernel/panic", "sys/kernel/printk",
          "sys/kernel/randomize_va_space", "sys/kernel/dmesg_restrict"], back=True)
proc_vector("sysctl-vm", "sysctl", ["sys/vm/swappiness", "sys/vm/overcommit_memory",
          "sys/vm/vfs_cache_pressure"], back=True)
proc_vector("sysctl-fs", "sysctl", ["sys/fs/file-max", "sys/fs/protected_hardlinks",
          "sys/fs/protected_symlinks"], back=True)
proc_vector("sysctl-conntrack", "sysctl", ["sys/net/netfilter/nf_conntrack_max",
          "sys/net/nf_conntrack_max"], back=True)
proc_vector("sysctl-keys", "sysctl", ["sys/kernel/keys/maxkeys", "sys/kernel/keys/maxbytes"], back=True)
# Opened only: a write would act.
proc_vector("drop-caches", "sysctl", ["sys/vm/drop_caches", "sys/vm/compact_memory"])
proc_vector("sysrq-trigger", "sysctl", ["sysrq-trigger"])
proc_vector("interrupts", "sysctl", ["irq/default_smp_affinity", "irq/*/smp_affinity"])

# Programs that the kernel starts as the host's root.
proc_vector("core-pattern", "helpers", ["sys/kernel/core_pattern"])
proc_vector("modprobe-path", "helpers", ["sys/kernel/modprobe"])
proc_vector("poweroff-command", "helpers", ["sys/kernel/poweroff_cmd"])
proc_vector("helper-capabilities", "helpers", ["sys/kernel/usermodehelper/bset",
          "sys/kernel/usermodehelper/inheritable"])
sysfs_vector("uevent-helper", "helpers", ["kernel/uevent_helper"])
sysfs_vector("synthetic-uevent", "helpers", ["devices/virtual/mem/null/uevent",
           "block/*/uevent"])

sysfs_vector("kernel-memory-settings", "hardware", ["kernel/mm/transparent_hugepage/enabled",
           "kernel/mm/ksm/run", "kernel/mm/hugepages/*/nr_hugepages"])
sysfs_vector("module-parameters", "hardware", ["module/*/parameters/*"])
sysfs_vector("power-state", "hardware", ["power/state", "power/pm_async", "power/*"])
sysfs_vector("pci-bus", "hardware", ["bus/pci/rescan", "bus/pci/drivers_autoprobe",
           "bus/pci/drivers/*/unbind"])
# Written back, since lxcfs stands before these files: it opens them for anybody, and versions
# before 6.0 write as the host's root what a node's root writes.
sysfs_vector("processors-offline", "hardware", ["devices/system/cpu/cpu*/online",
           "devices/system/cpu/cpufreq/policy*/scaling_governor"], back=True)
sysfs_vector("memory-offline", "hardware", ["devices/system/memory/memory*/state",
           "devices/system/memory/auto_online_blocks"])
sysfs_vector("disk-queues", "hardware", ["block/*/queue/scheduler", "block/*/queue/read_ahead_kb"])


@vector("binfmt-handlers", "helpers")
def binfmt():
    """The node may have handlers of its own; those of the host are in the first user namespace."""
    usual = "/proc/sys/fs/binfmt_misc/register"
    before = os.stat(usual).st_dev if os.path.exists(usual) else None
    error = open_for_writing(usual) if before is not None else errno.ENOENT
    own = fresh("binfmt_misc")
    own_device = os.stat(own).st_dev if own else None
    if before is not None and error == 0 and before != own_device:
        return OPEN, f"{usual} of the host can be written"
    if in_initial_user_namespace() and own:
        error = open_for_writing(os.path.join(own, "register"))
        return verdict(error, opened=(0,), what="register, mounted anew")
    if own:
        return CLOSED, "the handlers are the node's own"
    if "binfmt_misc" not in read("/proc/filesystems"):
        return ABSENT, "the kernel has no binfmt_misc"
    return CLOSED, f"{usual}: {name_of(error)}; cannot be mounted"


@vector("efi-variables", "hardware")
def efi():
    if not os.path.isdir("/sys/firmware/efi"):
        return ABSENT, "the host was not started by EFI"
    return filesystem("efivarfs")


@vector("security-policy", "kernel")
def security_policy():
    """Hands AppArmor a policy that is none: refused for want of rights, or as malformed."""
    base = "/sys/kernel/security/apparmor"
    own = fresh("securityfs")
    if own:
        base = os.path.join(own, "apparmor")
    replace = os.path.join(base, ".replace")
    if not os.path.exists(replace):
        loads = glob.glob("/sys/fs/selinux/load") + glob.glob("/sys/fs/smackfs/load2")
        if loads:
            error = open_for_writing(loads[0])
            return verdict(error, opened=(0,), closed=(errno.EPERM, errno.EACCES, errno.EROFS))
        return ABSENT, "no AppArmor, SELinux or Smack is seen"
    level = read(os.path.join(base, ".ns_level")).strip()
    if level not in ("", "0"):
        return CLOSED, f"policy is the node's own, level {level}"
    try:
        handle = os.open(replace, os.O_WRONLY)
        os.write(handle, b"no policy")
        error = 0
    except OSError as failure:
        error = failure.errno
    return verdict(error, opened=(0, errno.EPROTO, errno.EINVAL, errno.EPROTONOSUPPORT))
