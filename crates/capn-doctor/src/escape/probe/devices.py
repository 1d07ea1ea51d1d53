# Devices of the host.


def disks():
    """Block devices of the host that hold data: (name, major, minor)."""
    found = []
    for line in read("/proc/partitions").splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[0].isdigit():
            found.append((fields[3], int(fields[0]), int(fields[1])))
    for path in glob.glob("/sys/block/*/dev"):
        major, minor = (int(number) for number in read(path).split(":"))
        found.append((path.split("/")[3], major, minor))
    dull = ("loop", "ram", "zram", "nbd", "sr", "fd")
    return sorted({disk for disk in found if not disk[0].startswith(dull)})


@vector("disk-by-new-node", "devices")
def new_disk():
    """Makes a node of each disk of the host and opens it for reading."""
    found = disks()
    if not found:
        return ABSENT, "no disk of the host is seen"
    answers = []
    for name, major, minor in found[:4]:
        act, error = device("b", major, minor)
        if error == 0:
            return OPEN, f"{name} ({major}:{minor}) opens"
        answers.append(f"{act} {name}: {name_of(error)}")
        if error not in (errno.EPERM, errno.EACCES):
            return verdict(error, absent=(errno.ENXIO, errno.ENOMEDIUM), what=answers[-1])
    return CLOSED, ", ".join(answers)


@vector("disk-by-existing-node", "devices")
def existing_disk():
    nodes = []
    for directory, directories, files in os.walk("/dev"):
        directories[:] = [name for name in directories if name not in ("pts", "shm", "mqueue")]
        for name in files:
            path = os.path.join(directory, name)
            try:
                if stat.S_ISBLK(os.stat(path).st_mode):
                    nodes.append(path)
            except OSError:
                continue
    for path in nodes:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return OPEN, f"{path} opens"
        except OSError:
            continue
    return CLOSED, f"{len(nodes)} block devices in /dev, none opens"


@vector("device-nodes", "devices")
def plain_node():
    """A node of /dev/null's number is harmless, but a process that can create it can create any."""
    act, error = device("c", 1, 3, os.O_WRONLY)
    if error:
        return verdict(error, what=f"{act} c 1 3")
    if not in_initial_user_namespace():
        # Servers can make harmless nodes on the node's behalf (interception of mknod).
        act, error = device("c", 5, 1)
        return verdict(error, opened=(0,), what=f"only harmless nodes: {act} c 5 1")
    return OPEN, "mknod and open of c 1 3"


@vector("memory-device", "devices")
def dev_mem():
    return char_device(1, 1, "c 1 1", ["/dev/mem"])


@vector("port-device", "devices")
def dev_port():
    return char_device(1, 4, "c 1 4", ["/dev/port"])


@vector("io-ports", "devices")
def ioperm():
    """Asks for port 0x80, the one nothing listens on, and gives it back unused."""
    _, error = call("ioperm", 0x80, 1, 1)
    if error == 0:
        call("ioperm", 0x80, 1, 0)
    return verdict(error, opened=(0,))


@vector("io-privilege", "devices")
def iopl():
    _, error = call("iopl", 3)
    if error == 0:
        call("iopl", 0)
    return verdict(error, opened=(0,))


@vector("processor-registers", "devices")
def msr():
    return char_device(202, 0, "msr 0", ["/dev/cpu/0/msr"])


@vector("host-console", "devices")
def console():
    return char_device(5, 1, "c 5 1")


@vector("host-screen", "devices")
def screen():
    return char_device(7, 0, "vcs 0", ["/dev/vcs"])


@vector("loop-control", "devices")
def loop_control():
    return char_device(10, 237, "c 10 237", ["/dev/loop-control"])


@vector("virtualisation", "devices")
def kvm():
    return char_device(10, 232, "c 10 232", ["/dev/kvm"])


@vector("device-mapper", "devices")
def device_mapper():
    return char_device(10, 236, "device mapper", ["/dev/mapper/control"])
