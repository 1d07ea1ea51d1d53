# Processes, namespaces and networks outside the node.


def shared_namespace(kind):
    """Whether ours is the host's or, in a pod, the node's. Those of control groups are not compared with
    the node's: with cgroup v1, Kubernetes makes none for pods."""
    inode, known = namespace(kind), TARGETS.get("namespaces", {}).get(kind, INITIAL.get(kind))
    if inode is None:
        return UNKNOWN, f"no /proc/self/ns/{kind}"
    if inode == TARGETS.get("node", {}).get(kind):
        return OPEN, f"{kind}:[{inode}] of the node"
    if known is not None:
        return (OPEN if inode == known else CLOSED), f"{kind}:[{inode}]"
    return None


@vector("host-process-namespace", "processes")
def pid_namespace():
    if read("/proc/2/comm").strip() == "kthreadd":
        return OPEN, "the kernel's threads are seen"
    return shared_namespace("pid")


@vector("host-name-namespace", "processes")
def uts_namespace():
    return shared_namespace("uts")


@vector("host-ipc-namespace", "processes")
def ipc_namespace():
    return shared_namespace("ipc")


@vector("host-mount-namespace", "processes")
def mount_namespace():
    """Asks the kernel for neighbouring mount namespaces, which could then be entered.

    The kernel gives those whose user namespace we rule. Ours hold our own processes; one that
    holds none of them, or belongs to the first user namespace, is the host's or a neighbour's.
    """
    same = shared_namespace("mnt")
    if same and same[0] == OPEN:
        return same
    NS_MNT_GET_NEXT, NS_MNT_GET_PREV, NS_GET_USERNS = 0x8010B70B, 0x8010B70C, 0xB701
    ours = {namespace("mnt", pid) for pid in os.listdir("/proc") if pid.isdigit()}
    seen = 0
    for request in (NS_MNT_GET_PREV, NS_MNT_GET_NEXT):
        handle = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        for _ in range(256):
            information = ctypes.create_string_buffer(struct.pack("<IIQ", 16, 0, 0), 16)
            ctypes.set_errno(0)
            found = LIBC.ioctl(handle, ctypes.c_ulong(request), information)
            os.close(handle)
            if found < 0:
                error = ctypes.get_errno()
                break
            handle, seen = found, seen + 1
            owner = LIBC.ioctl(handle, NS_GET_USERNS)
            foreign = owner < 0 or os.fstat(owner).st_ino == INITIAL["user"]
            if owner >= 0:
                os.close(owner)
            inode = os.fstat(handle).st_ino
            if foreign and inode not in ours:
                return OPEN, f"mnt:[{inode}] outside the node can be opened"
        if error == errno.ENOTTY:
            return ABSENT, "the kernel does not list mount namespaces"
    return CLOSED, f"{seen} others are seen, all of them ours"


@vector("host-network-namespace", "network")
def net_namespace():
    same = shared_namespace("net")
    if same:
        return same
    NS_GET_USERNS = 0xB701
    owner = LIBC.ioctl(os.open("/proc/self/ns/net", os.O_RDONLY), NS_GET_USERNS)
    if owner >= 0 and os.fstat(owner).st_ino != INITIAL["user"]:
        return CLOSED, "the network belongs to the node's user namespace"
    devices = glob.glob("/sys/class/net/*/device")
    bridges = [path for path in glob.glob("/sys/class/net/*/bridge")
               if re.search(r"/(incus|lxd)br", path)]
    if devices or bridges:
        return OPEN, "interfaces of the host are seen: " + ", ".join(devices + bridges)
    return CLOSED, "only interfaces of the node are seen"


@vector("foreign-processes", "processes")
def foreign():
    """Every process that is seen has to be in our PID namespace or in one below it."""
    NS_GET_PARENT = 0xB702
    own, seen = namespace("pid"), 0
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        inode = namespace("pid", pid)
        if inode is None:
            continue
        seen += 1
        if inode == own:
            continue
        try:
            handle = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
        except OSError:
            continue
        while handle >= 0 and os.fstat(handle).st_ino != own:
            handle = LIBC.ioctl(handle, NS_GET_PARENT)
        if handle < 0:
            return OPEN, f"process {pid} is not ours: {read(f'/proc/{pid}/comm').strip()}"
    return CLOSED, f"{seen} processes are seen, all of them ours"


@vector("foreign-ptrace", "processes")
def ptrace():
    """Opens the memory of processes whose owner is not one of the node's ids."""
    tried = 0
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            if os.stat(f"/proc/{pid}").st_uid != 65534:
                continue
            status = read(f"/proc/{pid}/status")
            if re.search(r"^Uid:\s+65534\b", status, re.M) and in_initial_user_namespace():
                continue
            tried += 1
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
            return OPEN, f"the memory of process {pid} opens"
        except OSError:
            continue
    return CLOSED, f"{tried} processes of foreign owners, none opens"


def mount_of(path):
    """The number of the mount that a directory is reached through, or None. Other than a device
    number it is the same however a file system counts its volumes, such as btrfs."""
    O_PATH = 0o10000000
    try:
        handle = os.open(path, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = re.search(r"^mnt_id:\s*(\d+)", read(f"/proc/self/fdinfo/{handle}"), re.M)
        return found.group(1) if found else None
    finally:
        os.close(handle)


@vector("outer-root", "processes")
def outer_root():
    """The root and the working directory of every process in our mount namespace are reached through
    mounts of it. A process that came in from outside may have kept one that is not."""
    ours = {line.split()[0] for line in read("/proc/self/mountinfo", 4 << 20).splitlines() if line}
    if mount_of("/") not in ours:
        return UNKNOWN, "our own root is in no mount that we see"
    tried = 0
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        if namespace("mnt", pid) != namespace("mnt"):
            continue
        for way in ("root", "cwd"):
            mount = mount_of(f"/proc/{pid}/{way}/")
            tried += mount is not None
            if mount is not None and mount not in ours:
                return OPEN, f"/proc/{pid}/{way} leads to mount {mount}, which is not one of ours"
    return CLOSED, f"no process leads out, {tried} directories tried"


@vector("reboot-host", "processes")
def reboot():
    """Magic numbers that are refused, after the right was checked. Outside the first PID
    namespace a reboot ends the node only."""
    _, error = call("reboot", 0, 0, 0, None)
    if error == errno.EINVAL and namespace("pid") != INITIAL["pid"]:
        return CLOSED, "would end the node only"
    return verdict(error, opened=(errno.EINVAL,))


@vector("audit", "network")
def audit():
    """Asks the kernel's audit for its status; whoever may, may change it too."""
    NETLINK_AUDIT, AUDIT_GET = 9, 1000
    try:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
        link.settimeout(3)
        # NLM_F_REQUEST | NLM_F_ACK
        link.sendto(struct.pack("<IHHII", 16, AUDIT_GET, 5, 1, 0), (0, 0))
        answer = link.recv(8192)
    except OSError as failure:
        refused = (errno.EPERM, errno.EACCES, errno.ECONNREFUSED)
        none = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
        return verdict(failure.errno or errno.EAGAIN, closed=refused, absent=none)
    kind, = struct.unpack("<H", answer[4:6])
    if kind == 2:
        error, = struct.unpack("<i", answer[16:20])
        return verdict(-error, opened=(0,), closed=(errno.EPERM, errno.ECONNREFUSED))
    return OPEN, "its status is told"


@vector("host-packets", "network")
def packets():
    """Opens a raw socket: it must see interfaces of the node's own network only."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
    except OSError as failure:
        return verdict(failure.errno, what="raw socket")
    bridges = [name for _, name in socket.if_nameindex()
               if os.path.isdir(f"/sys/class/net/{name}/bridge") and re.match(r"(incus|lxd)br", name)]
    if bridges:
        return OPEN, "the host's bridge is seen: " + ", ".join(bridges)
    result, detail = net_namespace()
    return result, f"raw sockets work in the node's network: {detail}"
