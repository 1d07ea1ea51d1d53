# Who the node's root is for the host.


def maps_host_root(path):
    for line in read(path).splitlines():
        inside, outside, count = (int(field) for field in line.split())
        if outside == 0 and count > 0:
            return OPEN, f"id {inside} in the node is 0 on the host ({' '.join(line.split())})"
    return CLOSED, "; ".join(" ".join(line.split()) for line in read(path).splitlines())


@vector("user-map-host-root", "identity")
def user_map():
    return maps_host_root("/proc/self/uid_map")


@vector("group-map-host-root", "identity")
def group_map():
    return maps_host_root("/proc/self/gid_map")


@vector("initial-user-namespace", "identity")
def user_namespace():
    inode = namespace("user")
    result = OPEN if inode in (INITIAL["user"], TARGETS.get("node", {}).get("user")) else CLOSED
    return result, f"user:[{inode}]"


def ids_of(path):
    return [tuple(int(field) for field in line.split()) for line in read(path).splitlines()]


def nested(inside, kind):
    """Maps one id of this node as 0 of a nested user namespace; 0 or the error."""
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        LIBC.unshare(0x10000000)
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        if kind == "gid":
            with open(f"/proc/{child}/setgroups", "w") as file:
                file.write("deny")
        handle = os.open(f"/proc/{child}/{kind}_map", os.O_WRONLY)
        try:
            os.write(handle, f"0 {inside} 1".encode())
        finally:
            os.close(handle)
        return 0
    except OSError as failure:
        return failure.errno
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)


def nested_vector(kind):
    for inside, outside, count in ids_of(f"/proc/self/{kind}_map"):
        if outside == 0 and count > 0:
            error = nested(inside, kind)
            return verdict(error, opened=(0,), what=f"nested map of the host's {kind} 0")
    owned = max(inside + count for inside, _, count in ids_of(f"/proc/self/{kind}_map"))
    error = nested(owned, kind)
    # EACCES: where user namespaces are refused, the child is in ours.
    closed = (errno.EPERM, errno.EINVAL, errno.EACCES)
    return verdict(error, opened=(0,), closed=closed, what=f"nested map of {kind} {owned}, not ours")


@vector("nested-user-map", "identity")
def nested_users():
    return nested_vector("uid")


@vector("nested-group-map", "identity")
def nested_groups():
    return nested_vector("gid")


@vector("become-foreign-id", "identity")
def become():
    """Takes an id beyond the node's map. With all ids of the host mapped, there is none."""
    ranges = ids_of("/proc/self/uid_map")
    owned = max(inside + count for inside, _, count in ranges)
    if any(outside == 0 for _, outside, _ in ranges):
        try:
            os.setresuid(0, 0, 0)
        except OSError as failure:
            return verdict(failure.errno)
        return OPEN, "is uid 0 of the host"
    try:
        os.setresuid(owned, owned, owned)
    except OSError as failure:
        return verdict(failure.errno, closed=(errno.EPERM, errno.EINVAL), what=f"uid {owned}")
    return OPEN, f"became uid {owned}, which is not ours"


@vector("trusted-attributes", "identity")
def trusted():
    path = os.path.join(SCRATCH, "marked")
    for directory in (SCRATCH, "/var/tmp", "/root"):
        path = os.path.join(directory, "capn-doors-marked")
        try:
            with open(path, "w"):
                pass
            os.setxattr(path, "trusted.capn-doors", b"1")
            return OPEN, f"trusted.* set on a file in {directory}"
        except OSError as failure:
            error = failure.errno
        finally:
            if os.path.exists(path):
                os.unlink(path)
        if error not in (errno.ENOTSUP, errno.ENOENT, errno.EROFS):
            return verdict(error, what=directory)
    return verdict(error, absent=(errno.ENOTSUP,))


@vector("parent-namespace", "identity")
def parent():
    """Asks the kernel for the namespace above ours, which could then be entered."""
    NS_GET_PARENT = 0xB702
    answers = []
    for kind in ("user", "pid"):
        handle = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)
        found = LIBC.ioctl(handle, NS_GET_PARENT)
        error = ctypes.get_errno()
        if found >= 0:
            return OPEN, f"the parent of our {kind} namespace can be opened"
        if error not in (errno.EPERM, errno.ENOTTY):
            return UNKNOWN, f"{kind}: {name_of(error)}"
        answers.append(f"{kind}: {name_of(error)}")
    return CLOSED, ", ".join(answers)
