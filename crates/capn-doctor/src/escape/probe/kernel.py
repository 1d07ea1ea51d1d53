# The host's kernel itself: code into it, secrets out of it, its clock.

ABSENT_CALL = "the kernel has no such call"


@vector("module-init", "kernel")
def module_init():
    image = ctypes.create_string_buffer(b"no module at all", 64)
    _, error = call("init_module", image, 64, b"")
    return verdict(error, opened=(errno.ENOEXEC, errno.EINVAL, errno.EBADMSG, errno.ENOKEY,
                                  errno.EKEYREJECTED))


@vector("module-finit", "kernel")
def module_finit():
    path = os.path.join(SCRATCH, "module")
    with open(path, "wb") as file:
        file.write(b"no module at all" * 16)
    handle = os.open(path, os.O_RDONLY)
    _, error = call("finit_module", handle, b"", 0)
    return verdict(error, opened=(errno.ENOEXEC, errno.EINVAL, errno.EBADMSG, errno.ENOKEY,
                                  errno.EKEYREJECTED))


@vector("module-delete", "kernel")
def module_delete():
    _, error = call("delete_module", b"capn_no_such_module", os.O_NONBLOCK)
    return verdict(error, opened=(errno.ENOENT,))


@vector("kexec", "kernel")
def kexec():
    """Flags and a number of segments that are refused after the permission was checked."""
    _, error = call("kexec_load", 0, 100000, None, 0x0BAD0BAD)
    return verdict(error, opened=(errno.EINVAL,))


@vector("kexec-file", "kernel")
def kexec_file():
    _, error = call("kexec_file_load", -1, -1, 0, None, 0x0BAD0000)
    return verdict(error, opened=(errno.EINVAL,))


def load_program(kind):
    """Loads `return 0` and drops it; it is attached to nothing."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code = ctypes.create_string_buffer(code, len(code))
    license_text = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQIIQII", kind, 2, ctypes.addressof(code),
                             ctypes.addressof(license_text), 0, 0, 0, 0, 0)
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    handle, error = call("bpf", 5, attributes, 128)
    if handle >= 0:
        os.close(handle)
    return error


@vector("bpf-tracing", "kernel")
def bpf_tracing():
    return verdict(load_program(5), opened=(0,), absent=(errno.EINVAL,), what="a tracepoint program")


@vector("bpf-filter", "kernel")
def bpf_filter():
    return verdict(load_program(1), opened=(0,), what="a socket filter")


@vector("bpf-programs-of-host", "kernel")
def bpf_enumerate():
    attributes = ctypes.create_string_buffer(128)
    _, error = call("bpf", 11, attributes, 128)
    return verdict(error, opened=(0, errno.ENOENT), what="the list of programs")


def perf(pid, cpu, kernel):
    """A software clock that never runs; closed at once."""
    DISABLED, EXCLUDE_KERNEL, EXCLUDE_HV = 1, 1 << 5, 1 << 6
    flags = DISABLED | EXCLUDE_HV | (0 if kernel else EXCLUDE_KERNEL)
    attributes = struct.pack("<IIQQQQQ", 1, 128, 0, 1000000, 0, 0, flags)
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    handle, error = call("perf_event_open", attributes, pid, cpu, -1, 8)
    if handle >= 0:
        os.close(handle)
    return error


@vector("perf-all-processes", "kernel")
def perf_all():
    return verdict(perf(-1, 0, False), opened=(0,), absent=(errno.ENOENT, errno.ENODEV))


@vector("perf-kernel", "kernel")
def perf_kernel():
    return verdict(perf(0, -1, True), opened=(0,), absent=(errno.ENOENT,))


@vector("userfaultfd-kernel", "kernel")
def faults():
    handle, error = call("userfaultfd", os.O_CLOEXEC | os.O_NONBLOCK)
    if handle >= 0:
        os.close(handle)
    return verdict(error, opened=(0,), what="faults of the kernel")


@vector("kernel-addresses", "kernel")
def addresses():
    text = read("/proc/kallsyms", 16384)
    if not text:
        return ABSENT, "no /proc/kallsyms"
    shown = [line for line in text.splitlines()[:-1] if int(line.split()[0], 16) != 0]
    return (OPEN, shown[-1]) if shown else (CLOSED, "all addresses are shown as zero")


@vector("physical-memory-map", "kernel")
def iomem():
    found = False
    for root in roots("proc", "/proc"):
        for line in read(os.path.join(root, "iomem")).splitlines():
            found = True
            if int(line.strip().split("-")[0], 16) != 0:
                return OPEN, line.strip()
    return (CLOSED, "all addresses are shown as zero") if found else (ABSENT, "no /proc/iomem")


@vector("physical-page-numbers", "kernel")
def page_numbers():
    memory = ctypes.create_string_buffer(b"x" * 16384)
    page = ctypes.addressof(memory) // resource.getpagesize() + 1
    try:
        with open("/proc/self/pagemap", "rb") as file:
            file.seek(page * 8)
            value, = struct.unpack("<Q", file.read(8))
    except OSError as failure:
        return verdict(failure.errno, absent=(errno.ENOENT,))
    number = value & ((1 << 55) - 1)
    return (OPEN, f"page frame {number:#x}") if number else (CLOSED, "page frames are hidden")


def readable(paths):
    error = errno.ENOENT
    for root in roots("proc", "/proc"):
        for path in paths:
            try:
                os.close(os.open(os.path.join(root, path), os.O_RDONLY | os.O_NONBLOCK))
                return OPEN, f"{path} can be read"
            except OSError as failure:
                error = failure.errno if failure.errno != errno.ENOENT else error
    return verdict(error, absent=(errno.ENOENT,), what=", ".join(paths))


@vector("kernel-memory", "kernel")
def kcore():
    return readable(["kcore"])


@vector("page-counts", "kernel")
def page_counts():
    return readable(["kpagecount", "kpageflags"])


@vector("kernel-log-file", "log")
def proc_kmsg():
    return readable(["kmsg"])


@vector("kernel-log-device", "log")
def dev_kmsg():
    return char_device(1, 11, "c 1 11", ["/dev/kmsg"])


@vector("kernel-log-forge", "log")
def forge():
    try:
        found = os.stat("/dev/kmsg")
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 11):
            error = open_for_writing("/dev/kmsg")
            if error == 0:
                return OPEN, "/dev/kmsg opens for writing"
    except OSError:
        pass
    act, error = device("c", 1, 11, os.O_WRONLY)
    return verdict(error, opened=(0,), what=f"{act} c 1 11")


@vector("kernel-log-call", "log")
def syslog_read():
    buffer = ctypes.create_string_buffer(256)
    _, error = call("syslog", 3, buffer, 255)
    return verdict(error, opened=(0,))


@vector("kernel-log-level", "log")
def syslog_level():
    """Level 0 is refused, after the permission was checked."""
    _, error = call("syslog", 8, None, 0)
    return verdict(error, opened=(errno.EINVAL,))


def tick_of_zero():
    """struct timex with a tick that is refused, after the permission was checked."""
    return ctypes.create_string_buffer(struct.pack("<I", 0x4000).ljust(208, b"\0"), 208)


@vector("clock-adjtimex", "clock")
def adjtimex():
    _, error = call("adjtimex", tick_of_zero())
    return verdict(error, opened=(errno.EINVAL,))


@vector("clock-adjtime", "clock")
def clock_adjtime():
    _, error = call("clock_adjtime", 0, tick_of_zero())
    return verdict(error, opened=(errno.EINVAL,))


@vector("clock-set", "clock")
def settimeofday():
    """No time, and a time zone that is refused after the permission was checked."""
    zone = ctypes.create_string_buffer(struct.pack("<ii", 100000, 0), 8)
    _, error = call("settimeofday", None, zone)
    return verdict(error, opened=(errno.EINVAL,))


@vector("clock-hardware", "clock")
def rtc():
    numbers = read("/sys/class/rtc/rtc0/dev").strip()
    if not numbers:
        return ABSENT, "the host has no hardware clock"
    major, minor = (int(number) for number in numbers.split(":"))
    return char_device(major, minor, "rtc0", ["/dev/rtc0"])


KEYCTL_GET_KEYRING_ID, KEYCTL_JOIN_SESSION_KEYRING = 0, 1


def session_keyring():
    """The serial number of this process's session keyring, or None."""
    KEY_SPEC_SESSION_KEYRING = -3
    serial, _ = call("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
    return serial & 0xFFFFFFFF if serial >= 0 else None


@vector("host-keys", "kernel")
def keys():
    """Describes keys of the host's root; a description says type, owner, rights and name.

    The program was started by the server and has the server's session keyring, as nothing has that
    the node itself started. So it takes one of its own first."""
    inherited = session_keyring()
    call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)
    still_has_it = inherited is not None and session_keyring() == inherited
    tried = [key for key in TARGETS.get("keys", []) if not (still_has_it and key == inherited)]
    for serial in tried:
        buffer = ctypes.create_string_buffer(256)
        length, error = call("keyctl", 6, serial, buffer, 255, 0)
        if length >= 0:
            return OPEN, f"key {serial:#x}: {buffer.value.decode('utf-8', 'replace')}"
        if error == errno.ENOSYS:
            return verdict(error)
    for line in read("/proc/keys").splitlines():
        fields = line.split()
        if len(fields) > 8 and fields[8].startswith(".") and in_initial_user_namespace():
            return OPEN, f"a key of the system is listed: {fields[8]}"
    _, error = call("keyctl", KEYCTL_GET_KEYRING_ID, -3, 0, 0, 0)
    if error == errno.ENOSYS:
        return verdict(error)
    return CLOSED, f"{len(tried)} keys of the host tried, none is seen"
