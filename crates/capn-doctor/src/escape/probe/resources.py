# Taking more of the host than was given, and the server that gave it.


def cgroup_mounts():
    return [(m[2], m[4]) for m in mounts() if m[4] in ("cgroup", "cgroup2")]


@vector("cgroup-release-agent", "cgroups")
def release_agent():
    """The file is only in the topmost group of a cgroup v1 hierarchy: seeing it is half the way."""
    v1 = [path for path, kind in cgroup_mounts() if kind == "cgroup"]
    if not any(line.split(":")[1] for line in read("/proc/self/cgroup").splitlines()):
        return ABSENT, "the host has no cgroup v1 hierarchy"
    seen = [os.path.join(path, "release_agent") for path in v1]
    seen = [path for path in seen if os.path.exists(path)]
    for path in seen:
        if open_for_writing(path) == 0:
            return OPEN, f"{path} can be written"
    mounted = mount_hierarchies()
    for path in mounted:
        agent = os.path.join(path, "release_agent")
        if os.path.exists(agent) and open_for_writing(agent) == 0:
            return OPEN, "the topmost group, mounted anew, can be written"
    return CLOSED, f"{len(v1)} hierarchies, {len(mounted)} mounted anew: no release_agent opens"


def mount_hierarchies():
    """Hierarchies that exist, mounted anew in a mount namespace of our own."""
    if LIBC.unshare(0x00020000) != 0:
        return []
    LIBC.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
    found = []
    for line in read("/proc/self/cgroup").splitlines():
        number, names, _ = line.split(":", 2)
        path = os.path.join(SCRATCH, "hierarchy-" + number)
        os.makedirs(path, exist_ok=True)
        kind = b"cgroup" if names else b"cgroup2"
        options = None
        if names:
            options = ("none," + names if names.startswith("name=") else names).encode()
        if LIBC.mount(b"none", path.encode(), kind, 0, options) == 0:
            found.append(path)
    return found


@vector("cgroup-of-others", "cgroups")
def other_groups():
    """The topmost group lacks files that every other group has. Seen, it shows all groups."""
    for path in [m[0] for m in cgroup_mounts()] + mount_hierarchies():
        procs = os.path.join(path, "cgroup.procs")
        if not os.path.exists(procs):
            continue
        topmost = not os.path.exists(os.path.join(path, "cgroup.type"))
        if os.path.exists(os.path.join(path, "cgroup.clone_children")):  # v1
            topmost = os.path.exists(os.path.join(path, "release_agent"))
        if topmost and open_for_writing(procs) == 0:
            return OPEN, f"{procs} of the topmost group can be written"
    # A group above our own, by a path that leaves the namespace's root.
    above = [line for line in read("/proc/self/cgroup").splitlines() if "/.." in line]
    if above:
        return OPEN, f"processes are outside our groups: {above[0]}"
    return CLOSED, "only groups below the node's own are seen"


@vector("host-cgroup-namespace", "cgroups")
def cgroup_namespace():
    return shared_namespace("cgroup")


@vector("cgroup-devices", "cgroups")
def cgroup_devices():
    """Allows the node what it has already, /dev/null. Whoever may allow, may allow disks."""
    paths = [path for path, kind in cgroup_mounts() if kind == "cgroup"]
    paths = [os.path.join(path, "devices.allow") for path in paths]
    paths = [path for path in paths if os.path.exists(path)]
    if not paths:
        return ABSENT, "devices are not divided by cgroup v1"
    for path in paths:
        try:
            handle = os.open(path, os.O_WRONLY)
            os.write(handle, b"c 1:3 rwm")
            os.close(handle)
            return OPEN, f"{path} can be written"
        except OSError as failure:
            error = failure.errno
    return verdict(error, what=paths[0])


@vector("own-limits", "cgroups")
def own_limits():
    """Limits of the node's topmost group, written back as they are."""
    tried = []
    for path, kind in cgroup_mounts():
        names = ("memory.limit_in_bytes", "pids.max", "cpu.cfs_quota_us", "memory.max", "cpu.max")
        for name in names:
            whole = os.path.join(path, name)
            if os.path.exists(whole):
                error = open_for_writing(whole, back=True)
                if error == 0:
                    return OPEN, f"{whole} can be written"
                tried.append(name_of(error))
    if not tried:
        return ABSENT, "the node's topmost group has no limits"
    return CLOSED, f"{len(tried)} limits: " + ", ".join(sorted(set(tried)))


@vector("memory-lock", "resources")
def memory_lock():
    """Locks a page with a limit of none."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    memory = ctypes.create_string_buffer(4096)
    ctypes.set_errno(0)
    value = LIBC.mlock(memory, 4096)
    error = ctypes.get_errno() if value else 0
    return verdict(error, opened=(0,), closed=(errno.EPERM, errno.ENOMEM))


@vector("limits-raise", "resources")
def raise_limits():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard - 1))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    except (OSError, ValueError) as failure:
        return CLOSED, str(failure)
    return OPEN, "a hard limit can be raised"


@vector("out-of-memory-score", "resources")
def oom_score():
    """Would the kernel rather kill the host's processes than this one? Theirs is 0, a node's too; kubelet
    gives most pods more, which they may take back in a node that cannot set the lowest."""
    path = "/proc/self/oom_score_adj"
    now = int(read(path))
    if now <= -1000:
        return OPEN, "is exempt already"
    try:
        with open(path, "w") as file:
            file.write(str(min(now, 0) - 1))
    except OSError as failure:
        return verdict(failure.errno)
    return OPEN, f"lowered from {now} to {read(path).strip()}"


@vector("real-time", "resources")
def real_time():
    """A real-time priority for this process alone, which ends at once."""
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError as failure:
        return verdict(failure.errno)
    return OPEN, "runs before all other processes of the host"


@vector("priority", "resources")
def priority():
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)
    except OSError as failure:
        return verdict(failure.errno)
    return OPEN, f"nice is {os.getpriority(os.PRIO_PROCESS, 0)}"


@vector("disk-priority", "resources")
def disk_priority():
    _, error = call("ioprio_set", 1, 0, (1 << 13) | 4)
    return verdict(error, opened=(0,), what="real-time class")


SOCKETS = ("/var/lib/incus/unix.socket", "/run/incus/unix.socket", "/var/lib/lxd/unix.socket",
           "/var/snap/lxd/common/lxd/unix.socket", "/run-unix.socket")


def ask(path, request):
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(4)
    link.connect(path)
    link.sendall(f"GET {request} HTTP/1.0\r\nHost: node\r\n\r\n".encode())
    answer = b""
    while len(answer) < 65536:
        piece = link.recv(8192)
        if not piece:
            break
        answer += piece
    return answer.decode("utf-8", "replace")


@vector("server-socket", "server")
def server_socket():
    """The server's own socket: access to it is root on the host."""
    paths = {m[2] for m in mounts() if m[2].endswith("unix.socket")} | set(SOCKETS)
    paths = [path for path in paths if os.path.exists(path)]
    for path in paths:
        try:
            if '"auth":"trusted"' in ask(path, "/1.0").replace(" ", ""):
                return OPEN, f"{path} answers and trusts"
        except OSError as failure:
            return verdict(failure.errno, absent=(errno.ECONNREFUSED,), what=path)
    return CLOSED, f"{len(paths)} sockets in the node"


@vector("guest-api", "server")
def guest_api():
    """The API for guests tells of the node itself; it must not be the server's."""
    for path in ("/dev/incus/sock", "/dev/lxd/sock"):
        if os.path.exists(path):
            break
    else:
        return ABSENT, "the node has no API for guests"
    answers = []
    for request in ("/1.0/instances", "/1.0/certificates", "/1.0/storage-pools"):
        try:
            first = ask(path, request).split("\r\n")[0]
        except OSError as failure:
            return verdict(failure.errno, absent=(errno.ECONNREFUSED,), what=path)
        answers.append(f"{request}: {first.partition(' ')[2]}")
        if " 200" in first:
            return OPEN, answers[-1]
    return CLOSED, ", ".join(answers)
