"""A node in a user namespace, for the test of pod-mounts: `node.py FOLDER`. Prints what came out."""
import ctypes
import importlib.util
import json
import os
import stat
import sys

FOLDER = sys.argv[1]
NEWUSER, NEWNS, REC, PRIVATE = 0x10000000, 0x20000, 0x4000, 0x40000
LIBC = ctypes.CDLL(None, use_errno=True)
POD = "0a-1b"
BASE = f"{FOLDER}/pods/{POD}"


def skip(why):
    print(why)
    sys.exit(77)


def enter():
    """The child is root of a user namespace of 200000 ids, with mounts of its own."""
    asked, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(asked[1])
        if os.read(asked[0], 1) == b"y":
            for kind in ("uid", "gid"):
                with open(f"/proc/{child}/{kind}_map", "w") as file:
                    file.write("0 0 200000")
        os.write(mapped[1], b"y")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if LIBC.unshare(NEWUSER | NEWNS):
        skip("user namespaces are not allowed here")
    os.write(asked[1], b"y")
    os.read(mapped[0], 1)
    LIBC.mount(b"none", b"/", None, REC | PRIVATE, None)


def put(path, text="", mode=0o644, owner=(0, 0)):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chown(path, *owner)
    os.chmod(path, mode)
    return path


def folder(path, owner=(0, 0), mode=0o777):
    os.makedirs(path)
    os.chmod(path, mode)
    os.chown(path, *owner)
    return path


def main():
    if os.getuid() != 0:
        skip("this user is not root")
    enter()
    spec = importlib.util.spec_from_file_location("pod_mounts", f"{FOLDER}/pod_mounts.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.PODS, program.SANDBOXES = f"{FOLDER}/pods", f"{FOLDER}/sandboxes"

    volumes = f"{BASE}/volumes/kubernetes.io~"
    disk = folder(f"{volumes}empty-dir/disk", (0, 2000), 0o2777)
    put(f"{disk}/of-root")
    config = folder(f"{volumes}configmap/config")
    put(f"{config}/..1/key", "value", 0o400, (0, 2000))
    put(f"{config}/..1/given", "subpath", 0o400, (65536, 65536 + 2000))
    os.symlink("..1", f"{config}/..data")
    secret = folder(f"{volumes}secret/secret")
    assert LIBC.mount(b"t", secret.encode(), b"tmpfs", 0, None) == 0
    elsewhere = put(f"{FOLDER}/elsewhere")
    os.symlink(elsewhere, f"{BASE}/link")
    sources = {
        "/disk": disk,
        "/used": folder(f"{volumes}empty-dir/used", (66536, 65536)),
        "/hosts": put(f"{BASE}/etc-hosts"),
        "/log": put(f"{BASE}/containers/one/1a2b", mode=0o666),
        "/resolv.conf": put(f"{FOLDER}/sandboxes/5a/resolv.conf"),
        "/secret": secret,
        "/config": config,
        "/elsewhere": elsewhere,
        "/of-another-pod": put(f"{FOLDER}/pods/ffff/etc-hosts"),
        "/dots": f"{BASE}/containers/../../../elsewhere",
    }
    ids = [{"containerID": 0, "hostID": 65536, "size": 65536}]
    image = f"{FOLDER}/bundle/rootfs"
    put(f"{image}/bin/su", mode=0o4755)
    put(f"{image}/bin/mail", owner=(8, 12))
    ping = put(f"{image}/bin/ping", mode=0o755)
    os.symlink(elsewhere, f"{image}/link")
    try:
        os.setxattr(ping, "security.capability", bytes.fromhex("01000002" + "00200000" + "00" * 12))
    except OSError:
        ping = None
    mounts = [{"destination": to, "type": "bind", "source": source, "options": ["rbind", "ro"],
               "uidMappings": ids, "gidMappings": ids} for to, source in sources.items()]
    mounts.append({"destination": "/proc", "type": "proc", "source": "proc"})
    path = put(f"{FOLDER}/bundle/config.json", json.dumps({
        "linux": {"uidMappings": ids, "gidMappings": ids},
        "annotations": {"io.kubernetes.cri.sandbox-uid": POD, "io.kubernetes.cri.sandbox-id": "5a"},
        "root": {"path": "rootfs"},
        "unknown": {"kept": [1, 1.5, "é"]},
        "mounts": mounts,
    }), 0o640)
    program.main(path)
    # A link is refused, not followed.
    try:
        program.give(f"{BASE}/link", ids, ids)
    except OSError:
        pass

    def owner(path):
        found = os.lstat(path)
        return [found.st_uid, found.st_gid]

    with open(path) as file:
        after = json.load(file)
    names = ["volumes/kubernetes.io~empty-dir/disk", "volumes/kubernetes.io~empty-dir/used",
             "volumes/kubernetes.io~empty-dir/disk/of-root", "etc-hosts", "containers/one/1a2b", "link"]
    owners = {name: owner(f"{BASE}/{name}") for name in names}
    owners["resolv.conf"] = owner(sources["/resolv.conf"])
    owners["elsewhere"] = owner(elsewhere)
    owners["of-another-pod"] = owner(sources["/of-another-pod"])
    owners["image"] = owner(image)
    for name in ("bin/su", "bin/mail", "link"):
        owners[f"image/{name}"] = owner(f"{image}/{name}")
    in_memory = {"..data": os.readlink(f"{config}/..data")}
    for name in ("..1/key", "..1/given"):
        key = os.stat(f"{config}/{name}")
        with open(f"{config}/{name}") as file:
            in_memory[name] = f"{stat.S_IMODE(key.st_mode):04o} {key.st_uid} {key.st_gid} {file.read()}"
    assert LIBC.umount2(config.encode(), 0) == 0, "a tmpfs was mounted over the volume"
    print(json.dumps({
        "owners": owners,
        "mapped": [m["destination"] for m in after["mounts"] if m.get("uidMappings")],
        "config": in_memory,
        "su": f"{stat.S_IMODE(os.stat(f'{image}/bin/su').st_mode):04o}",
        "ping": ping and os.getxattr(ping, "security.capability").hex(),
        "config_on_disk": owner(f"{config}/..1/key") == [0, 2000],
        "unknown": after["unknown"],
        "options": after["mounts"][0]["options"],
        "mode": f"{stat.S_IMODE(os.stat(path).st_mode):04o}",
        "left": [name for name in os.listdir(os.path.dirname(path)) if name not in ("config.json", "rootfs")],
    }))


main()
