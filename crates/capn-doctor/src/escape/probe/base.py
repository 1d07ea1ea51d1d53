"""Tries vectors out of a node, or out of a pod in it, as root inside, and prints one line of JSON for each.

Rules of a probe: it must not change anything outside the node, whether the vector is open or not.
So a file of the host is opened for writing and closed, or gets the value back that was read from
it; a system call gets an argument that the kernel refuses only after it has checked the
permission; a file system is made ready without a source and never attached. Each probe runs in a
process of its own, so that what it takes (namespaces, priorities, mounts) ends with it.
"""
import ctypes
import errno
import glob
import json
import os
import platform
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
import traceback

CLOSED, OPEN, ABSENT, UNKNOWN = "closed", "open", "absent", "unknown"
SECONDS_A_DOOR = 8

# What the kernel calls the first namespaces of the machine (include/uapi/linux/nsfs.h).
INITIAL = {
    "ipc": 4026531839,
    "uts": 4026531838,
    "user": 4026531837,
    "pid": 4026531836,
    "cgroup": 4026531835,
}

CALLS = {
    # name: (x86_64, aarch64)
    "acct": (163, 89),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_adjtime": (305, 266),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "userfaultfd": (323, 282),
}
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())

LIBC = ctypes.CDLL(None, use_errno=True)
# What the caller knows of the host: {"keys": [serial, ...], "namespaces": {"net": inode, ...}}; in a pod
# also {"node": {"net": inode, ...}}, which lead out of the pod, and the handle that Python came from.
TARGETS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
DOORS = []


def scratch():
    """A directory of our own. The image of a pod may have none of the usual places."""
    for place in ("/run", "/tmp", "/var/tmp", "/dev/shm", "/"):
        try:
            return tempfile.mkdtemp(prefix="capn-doors-", dir=place)
        except OSError:
            continue
    sys.exit("there is no directory that can be written")


SCRATCH = scratch()


def vector(name, family):
    """Registers a probe: a function without arguments that gives (result, detail)."""

    def register(probe):
        DOORS.append((name, family, probe))
        return probe

    return register


def call(name, *arguments):
    """A system call: (value, errno). A call this machine does not have gives ENOSYS."""
    number = CALLS[name][COLUMN] if COLUMN is not None else None
    if number is None:
        return -1, errno.ENOSYS
    wide = [a if isinstance(a, (bytes, ctypes.Array, ctypes._SimpleCData)) or a is None
            or hasattr(a, "_obj") else ctypes.c_long(a) for a in arguments]
    ctypes.set_errno(0)
    value = LIBC.syscall(ctypes.c_long(number), *wide)
    return value, ctypes.get_errno() if value == -1 else 0


def name_of(error):
    return errno.errorcode.get(error, str(error)) if error else "success"


def verdict(error, opened=(), absent=(), closed=(errno.EPERM, errno.EACCES), what=""):
    """Judges by the error. Success (0) has to be named in `opened` like any other."""
    detail = (what + ": " if what else "") + name_of(error)
    if error in closed:
        return CLOSED, detail
    if error in opened:
        return OPEN, detail
    if error in absent:
        return ABSENT, detail
    if error == errno.ENOSYS:
        if is_filtered():
            return CLOSED, detail + ", kept away by the system call filter or not in the kernel"
        return ABSENT, detail + ", the kernel has no such call"
    return UNKNOWN, detail


def is_filtered():
    """Whether a system call filter is on: then ENOSYS may be its answer."""
    return "Seccomp:\t2" in read("/proc/self/status")


def read(path, limit=65536):
    """A file as text; an empty text where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def namespace(kind, pid="self"):
    """The inode of a namespace, or None."""
    try:
        return int(re.search(r"\d+", os.readlink(f"/proc/{pid}/ns/{kind}")).group())
    except (OSError, AttributeError):
        return None


def in_initial_user_namespace():
    return namespace("user") == INITIAL["user"]


def mounts():
    """(device, root, path, options, type, source) of every mount."""
    found = []
    for line in read("/proc/self/mountinfo", 4 << 20).splitlines():
        left, _, right = line.partition(" - ")
        left, right = left.split(), right.split()
        if len(left) >= 6 and len(right) >= 2:
            path = left[4].encode().decode("unicode_escape")
            found.append((left[2], left[3], path, left[5], right[0], right[1]))
    return found


def fresh(kind):
    """A new mount of a file system in a mount namespace of this probe's own, or None."""
    if LIBC.unshare(0x00020000) != 0:
        return None
    LIBC.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
    path = os.path.join(SCRATCH, kind)
    os.makedirs(path, exist_ok=True)
    if LIBC.mount(kind.encode(), path.encode(), kind.encode(), 0, None) != 0:
        return None
    return path


def roots(kind, usual):
    """Every way to see procfs or sysfs: as it is, where nesting shows it, and mounted anew."""
    ways = [usual] + [m[2] for m in mounts() if m[4] == kind and m[1] == "/"]
    ways.append(fresh(kind))
    seen = []
    for way in ways:
        if way and way not in seen and os.path.isdir(way):
            seen.append(way)
    return seen


def writable(kind, patterns, back=False, most=4):
    """Opens files of procfs or sysfs for writing; with `back`, writes what was read."""
    usual = {"proc": "/proc", "sysfs": "/sys"}[kind]
    there, opened, errors = 0, [], set()
    for root in roots(kind, usual):
        for pattern in patterns:
            for path in sorted(glob.glob(os.path.join(root, pattern)))[:most]:
                there += 1
                error = open_for_writing(path, back)
                if error:
                    errors.add(name_of(error))
                else:
                    opened.append(path)
    if opened:
        return OPEN, "can be written: " + ", ".join(opened[:3])
    if not there:
        return ABSENT, "not there: " + ", ".join(patterns)
    return CLOSED, f"{there} tries: " + ", ".join(sorted(errors))


def open_for_writing(path, back=False):
    """0, or the error."""
    try:
        value = None
        if back:
            with open(path, "rb") as file:
                value = file.read(4096)
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if value:
                os.write(handle, value)
        finally:
            os.close(handle)
        return 0
    except OSError as failure:
        return failure.errno


def device(kind, major, minor, flags=os.O_RDONLY):
    """Makes a device node and opens it: (act, error)."""
    path = os.path.join(device_directory(), f"capn-doors-{os.getpid()}-{major}-{minor}")
    mode = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}[kind] | 0o600
    try:
        os.mknod(path, mode, os.makedev(major, minor))
    except OSError as failure:
        return "mknod", failure.errno
    try:
        handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        os.close(handle)
        return "open", 0
    except OSError as failure:
        return "open", failure.errno
    finally:
        os.unlink(path)


def device_directory():
    """A directory on a mount that is not `nodev`, where a device node would be of use."""
    NODEV = 4
    for directory in ("/dev", "/root", "/var/tmp", "/tmp", "/"):
        try:
            if not os.statvfs(directory).f_flag & NODEV and os.access(directory, os.W_OK):
                return directory
        except OSError:
            continue
    return SCRATCH


def char_device(major, minor, what, existing=()):
    """Opens a character device: nodes that are there first, then one made for it."""
    for path in existing:
        try:
            found = os.stat(path)
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(major, minor):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
                return OPEN, f"{path} opens"
        except OSError:
            continue
    act, error = device("c", major, minor)
    missing = (errno.ENXIO, errno.ENODEV, errno.ENOENT)
    return verdict(error, opened=(0, errno.EBUSY), absent=missing, what=f"{act} {what}")


def run(probe):
    """Runs a probe in a process of its own, with a deadline."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            result = probe()
        except BaseException as failure:  # the child must never go on as the parent
            place = traceback.extract_tb(failure.__traceback__)[-1]
            result = (UNKNOWN, f"{type(failure).__name__}: {failure} (line {place.lineno})")
        try:
            os.write(writer, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(writer)
    text = b""
    while True:
        ready, _, _ = select.select([reader], [], [], SECONDS_A_DOOR)
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return UNKNOWN, f"no answer in {SECONDS_A_DOOR} s"
        piece = os.read(reader, 65536)
        if not piece:
            break
        text += piece
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if not text:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS:
            return CLOSED, "ended by the system call filter"
        return UNKNOWN, f"ended without an answer, status {status}"
    return tuple(json.loads(text))


def main():
    """Tries every vector, in order."""
    if "handle" in TARGETS:
        # What Python loads late comes first: after this nothing of the node is within reach.
        b"-".decode("unicode_escape")
        os.close(TARGETS["handle"])
    try:
        for name, family, probe in DOORS:
            result, detail = run(probe)
            line = {"vector": name, "family": family, "result": result, "detail": detail[:300]}
            print(json.dumps(line), flush=True)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
