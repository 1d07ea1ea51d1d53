# File systems of the host.

FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6


def filesystem(name):
    """Makes a file system context and asks for its creation, without a source and unattached.

    The kernel checks the right to mount this kind before it looks for the source.
    """
    kinds = [line.split()[-1] for line in read("/proc/filesystems").splitlines() if line.strip()]
    if name not in kinds:
        return ABSENT, f"the kernel has no {name}"
    handle, error = call("fsopen", name.encode(), 1)
    if handle < 0:
        return verdict(error, absent=(errno.ENODEV,), what=f"fsopen {name}")
    _, error = call("fsconfig", handle, FSCONFIG_CMD_CREATE, None, None, 0)
    missing_source = (0, errno.EINVAL, errno.ENOENT, errno.ENOTBLK)
    return verdict(error, opened=missing_source, what=f"creating {name}")


@vector("mount-disk", "files")
def mount_disk():
    """Any file system that reads a disk: its parser in the kernel trusts what the disk says."""
    kinds = [line.strip() for line in read("/proc/filesystems").splitlines()]
    kinds = [kind for kind in kinds if kind and not kind.startswith("nodev")
             and kind not in ("fuseblk",)]
    if not kinds:
        return ABSENT, "the kernel has no file system for disks"
    answers = []
    for kind in kinds:
        result, detail = filesystem(kind)
        if result != CLOSED:
            return result, detail
        answers.append(detail)
    return CLOSED, ", ".join(answers)


@vector("mount-debugfs", "files")
def debugfs():
    return filesystem("debugfs")


@vector("mount-tracefs", "files")
def tracefs():
    return filesystem("tracefs")


@vector("mount-securityfs", "files")
def securityfs():
    return filesystem("securityfs")


@vector("mount-pstore", "files")
def pstore():
    return filesystem("pstore")


@vector("mount-configfs", "files")
def configfs():
    return filesystem("configfs")


@vector("mount-devtmpfs", "files")
def devtmpfs():
    """devtmpfs holds a node for each device of the host."""
    return filesystem("devtmpfs")


@vector("debug-files", "files")
def debug_files():
    """What nesting shows of the host's debugfs, tracefs and securityfs: can it be read?"""
    seen = [m for m in mounts() if m[4] in ("debugfs", "tracefs", "securityfs", "pstore")]
    if not seen:
        return ABSENT, "none of them is mounted"
    for _, _, path, _, kind, _ in seen:
        try:
            names = os.listdir(path)
        except OSError:
            continue
        for name in names:
            whole = os.path.join(path, name)
            if kind == "securityfs" and name in ("lsm", "apparmor", "lockdown"):
                continue
            if os.path.isfile(whole) and open_for_writing(whole) == 0:
                return OPEN, f"{whole} can be written"
        if kind in ("debugfs", "tracefs", "pstore") and names:
            return OPEN, f"{path} can be listed"
    return CLOSED, f"{len(seen)} mounts, none can be listed or written"


# The inode of the root directory, by what ext4, XFS and btrfs usually give it.
ROOT_INODES = (2, 128, 96, 64, 1024, 256)


@vector("open-by-handle", "files")
def by_handle():
    """Opens the root directory of the disk the node is on by its number, going round the paths."""
    own = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 8 + 128)
    mount_id = ctypes.c_int()
    _, error = call("name_to_handle_at", -100, b"/", own, ctypes.byref(mount_id), 0)
    if error:
        return verdict(error, absent=(errno.EOPNOTSUPP,), what="name_to_handle_at")
    size, kind = struct.unpack("<Ii", own.raw[:8])
    root = os.open("/", os.O_RDONLY)
    ours = os.stat("/")
    _, error = call("open_by_handle_at", root, own, os.O_RDONLY)
    if error:
        return verdict(error, closed=(errno.EPERM, errno.EACCES, errno.ESTALE), what="our own handle")
    for inode in ROOT_INODES:
        forged = ctypes.create_string_buffer(struct.pack("<IiII", 8, 1, inode, 0), 8 + 128)
        handle, error = call("open_by_handle_at", root, forged, os.O_RDONLY)
        if handle >= 0:
            found = os.fstat(handle)
            os.close(handle)
            if (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
                return OPEN, f"inode {found.st_ino} of the host's disk opens"
    if in_initial_user_namespace():
        return OPEN, f"handles open (kind {kind}, {size} bytes)"
    return CLOSED, "only handles below our own mount open"


@vector("trim-disk", "files")
def trim():
    """FITRIM without an argument: the right is checked first."""
    handle = os.open("/", os.O_RDONLY)
    ctypes.set_errno(0)
    value = LIBC.ioctl(handle, ctypes.c_ulong(0xC0185879), None)
    error = ctypes.get_errno() if value == -1 else 0
    return verdict(error, opened=(errno.EFAULT, errno.EOPNOTSUPP), absent=(errno.ENOTTY,))


@vector("quota", "files")
def quota():
    """Sets a quota from no address: the right is checked first."""
    handle = os.open("/", os.O_RDONLY)
    SET_QUOTA_OF_USERS = ctypes.c_int(((0x800008 << 8) | 0)).value
    _, error = call("quotactl_fd", handle, SET_QUOTA_OF_USERS, 0, None)
    if error == errno.ENOSYS and not is_filtered():
        return ABSENT, "no quotas on this file system"
    refused = (errno.EPERM, errno.EACCES, errno.EROFS)
    return verdict(error, opened=(errno.EFAULT, errno.ESRCH), absent=(errno.EINVAL,), closed=refused)


@vector("swap", "files")
def swap():
    """A file that is not there: the right is checked first."""
    _, error = call("swapon", b"/capn-no-such-file", 0)
    if error in (errno.EPERM, errno.EACCES):
        _, error = call("swapoff", b"/capn-no-such-file")
    return verdict(error, opened=(errno.ENOENT,))


@vector("accounting", "files")
def accounting():
    _, error = call("acct", b"/capn-no-such-file")
    return verdict(error, opened=(errno.ENOENT,))


@vector("watch-filesystem", "files")
def fanotify():
    """Watches the whole file system the node is on, with the rest of the host on it."""
    FAN_CLASS_CONTENT, FAN_REPORT_FID, FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 4, 0x200, 1, 0x100
    handle, error = call("fanotify_init", FAN_CLASS_CONTENT | 1, os.O_RDONLY)
    if handle >= 0:
        os.close(handle)
        return OPEN, "permission events are granted"
    first = verdict(error, what="permission events")
    if first[0] != CLOSED:
        return first
    handle, error = call("fanotify_init", FAN_REPORT_FID | 1, os.O_RDONLY)
    if handle < 0:
        return first
    # FAN_DELETE_SELF (0x400) of "/": set and dropped at once.
    _, error = call("fanotify_mark", handle, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, 0x400, -100, b"/")
    os.close(handle)
    return verdict(error, opened=(0,), absent=(errno.EOPNOTSUPP,), what="marking the file system")


PSEUDO = ("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "debugfs", "devpts", "devtmpfs",
          "fusectl", "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "securityfs", "sysfs",
          "tmpfs", "tracefs")


@vector("host-folders", "files")
def host_folders():
    """Directories of the host that are mounted read-only: can they be made writable, in a mount
    namespace of this probe? Directories that are mounted writable are what the user asked for."""
    shown = [m for m in mounts() if m[4] not in PSEUDO and not m[4].startswith("fuse")
             and m[2] != "/" and "ro" in m[3].split(",") and os.path.isdir(m[2])
             and not m[2].startswith(("/var/lib/containerd", "/var/lib/kubelet", "/run/"))]
    if not shown:
        return ABSENT, "no directory of the host is shown read-only"
    if LIBC.unshare(0x00020000) != 0:
        return UNKNOWN, "unshare: " + name_of(ctypes.get_errno())
    LIBC.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
    MS_REMOUNT, MS_BIND = 32, 4096
    for _, _, path, _, _, _ in shown:
        LIBC.mount(None, path.encode(), None, MS_REMOUNT | MS_BIND, None)
        # access(2) asks without opening: a read-only mount and the owners both can refuse.
        if os.access(path, os.W_OK):
            return OPEN, f"{path} was made writable"
    return CLOSED, ", ".join(m[2] for m in shown) + ": stays read-only"


@vector("fuse-of-host", "files")
def fuse():
    """FUSE connections of the host, such as lxcfs: opening `abort` for writing would be enough."""
    own = {m[0].split(":")[1] for m in mounts() if m[4].startswith("fuse") and "lxcfs" not in m[4]}
    base = fresh("fusectl") or "/sys/fs/fuse/connections"
    shown = [path for path in glob.glob(os.path.join(base, "*/abort"))
             if path.split("/")[-2] not in own]
    if not shown:
        if base == "/sys/fs/fuse/connections" and "fuse" in read("/proc/filesystems"):
            return CLOSED, "no connection of the host is seen"
        return ABSENT, "the host has no FUSE connection"
    for path in shown:
        if os.stat(path).st_uid != 65534 and open_for_writing(path) == 0:
            return OPEN, f"{path} opens for writing"
    return CLOSED, f"{len(shown)} connections, none opens"


@vector("chroot-breakout", "files")
def chroot():
    """The classic way out of a chroot; a container has a root mount of its own instead."""
    before = os.stat("/")
    inner = os.path.join(SCRATCH, "inner")
    os.makedirs(inner, exist_ok=True)
    outside = os.open("/", os.O_RDONLY)
    try:
        os.chroot(inner)
    except PermissionError as failure:
        return verdict(failure.errno, what="chroot")
    os.fchdir(outside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    after = os.stat("/")
    if (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino):
        return CLOSED, "the topmost directory is the node's own"
    return OPEN, f"another root: {sorted(os.listdir('/'))[:8]}"
