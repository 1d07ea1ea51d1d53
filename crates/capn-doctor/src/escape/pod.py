"""Runs the program of standard input in a container of a pod, as root in it, from the pod's node:
`TARGETS NAMESPACE NAME`.

runc starts it, with what it gives that container: namespaces, capabilities, the filter of system calls,
control groups. The container's image need not have Python: the node's /usr is handed over as a handle to
a copy of that mount alone, read-only, with nothing above it. The program closes it before it tries the
first vector.
"""
import ctypes
import json
import os
import re
import subprocess
import sys

# Exit codes that capn knows.
NO_POD, NO_WAY = 66, 67
HANDLE = 3
# As containerd runs it: the node's own, where it is in a user namespace.
OWN = "/usr/local/lib/capn/runc"
RUNC = (OWN if os.access(OWN, os.X_OK) else "runc", "--root", "/run/containerd/runc/k8s.io")
KINDS = ("user", "pid", "mnt", "net", "ipc", "uts")


def container_of(namespace, name):
    """A running container of the pod, as runc lists it."""
    done = subprocess.run([*RUNC, "list", "--format", "json"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(NO_WAY)
    key = "io.kubernetes.cri."
    for container in json.loads(done.stdout) or []:
        marks = container.get("annotations") or {}
        if ((marks.get(key + "sandbox-namespace"), marks.get(key + "sandbox-name")) == (namespace, name)
                and marks.get(key + "container-type") == "container" and container["status"] == "running"):
            return container["id"]
    sys.exit(NO_POD)


def handed_over():
    """A handle to a copy of the mount with /usr, read-only: its root has no directory above."""
    OPEN_TREE, MOUNT_SETATTR, CLONE, HERE = 428, 442, 1, -100
    RDONLY_NOSUID_NODEV, EMPTY_PATH = 7, 0x1000
    libc, long = ctypes.CDLL(None, use_errno=True), ctypes.c_long
    tree = libc.syscall(long(OPEN_TREE), long(HERE), b"/usr", long(CLONE))
    attributes = (ctypes.c_uint64 * 4)(RDONLY_NOSUID_NODEV, 0, 0, 0)
    if tree < 0 or libc.syscall(long(MOUNT_SETATTR), long(tree), b"", long(EMPTY_PATH), attributes, long(32)):
        print("the node's /usr cannot be lent: " + os.strerror(ctypes.get_errno()), file=sys.stderr)
        sys.exit(NO_WAY)
    if tree != HANDLE:
        os.dup2(tree, HANDLE)
        os.close(tree)


def lent(path):
    """A path of the node as the container sees it through the handle."""
    path = os.path.realpath(path)
    if not path.startswith("/usr/"):
        print(f"{path} of the node is not in /usr", file=sys.stderr)
        sys.exit(NO_WAY)
    return f"/proc/self/fd/{HANDLE}/{path[len('/usr/'):]}"


def command():
    """Python of the node, started by the node's dynamic loader, since the container may have neither."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        mapped = set(re.findall(r"(/\S+\.so[\S]*)$", file.read(), re.M))
    loader = next(path for path in mapped if re.match(r"ld-|ld\.", os.path.basename(path)))
    directories = sorted({os.path.dirname(lent(path)) for path in mapped})
    return [lent(loader), "--library-path", ":".join(directories), lent(sys.executable), "-s", "-S", "-B", "-"]


def main(targets, namespace, name):
    container, targets = container_of(namespace, name), json.loads(targets)
    targets["node"] = {kind: os.stat(f"/proc/self/ns/{kind}").st_ino for kind in KINDS}
    targets["handle"] = HANDLE
    handed_over()
    os.set_inheritable(HANDLE, True)
    os.execvp(RUNC[0], [*RUNC, "exec", "--preserve-fds", "1", "--user", "0:0", "--cwd", "/",
                        "--env", f"PYTHONHOME=/proc/self/fd/{HANDLE}", container, *command(),
                        json.dumps(targets)])


main(*sys.argv[1:])
