"""Looks at the etcd of a control plane node, and takes single steps towards a cluster of one.

Run as root in the node by `python3 -I -`, with MANIFEST set before and `main(ACT)` called after. Each act can
be interrupted anywhere and taken again; what is in the folder says how far it came. Prints one JSON object.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

LIVE = "/etc/kubernetes/manifests/etcd.yaml"
FOLDER = "/var/lib/capn-repair"
ASIDE = FOLDER + "/etcd.yaml"
COPY = FOLDER + "/data"
# Beside the folder of manifests: kubelet reads every file in that one.
STAGED = "/etc/kubernetes/.etcd.capn-repair"
# Most bytes of a manifest and of an answer.
LONGEST = 65536
# Seconds for kubelet to end etcd, whose own grace is 30, and for etcd to end in all.
PATIENCE = 45
END = 90


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(LONGEST)
    except FileNotFoundError:
        return None


def flags():
    """The flags of the manifest as it is meant to be."""
    text = read(ASIDE) or read(LIVE) or ""
    found = re.findall(r"^\s*- --([a-z-]+)=(\S+)\s*$", text, re.MULTILINE)
    return dict(found)


def data_folder():
    path = flags().get("data-dir", "/var/lib/etcd")
    if not re.fullmatch(r"/[A-Za-z0-9._/-]+", path) or ".." in path:
        fail(f"the manifest names a data directory that is not understood: {path[:100]!r}")
    return path


def first(urls):
    return urls.split(",")[0] if urls else None


def health(known):
    """Whether etcd has a leader; None when it does not answer."""
    url = first(known.get("listen-metrics-urls"))
    if not url:
        return None
    try:
        with urllib.request.urlopen(url + "/health", timeout=10) as answer:
            return json.loads(answer.read(LONGEST)).get("health") == "true"
    except urllib.error.HTTPError:
        return False
    except (OSError, ValueError):
        return None


def members(known):
    """The members that etcd knows, which it also tells without a leader; None when it does not answer."""
    url = first(known.get("listen-peer-urls"))
    try:
        context = ssl.create_default_context(cafile=known["peer-trusted-ca-file"])
        context.load_cert_chain(known["peer-cert-file"], known["peer-key-file"])
        context.check_hostname = False
        with urllib.request.urlopen(url + "/members", timeout=5, context=context) as answer:
            found = json.loads(answer.read(LONGEST))
        return [
            {
                "name": str(one.get("name") or ""),
                "peers": [str(peer) for peer in one.get("peerURLs") or []],
                "learner": bool(one.get("isLearner")),
            }
            for one in found
        ]
    except (KeyError, OSError, ValueError, TypeError):
        return None


def processes():
    """The command lines of etcd's processes, by id."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read(LONGEST).decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "etcd":
            found[int(pid)] = words
    return found


def forced():
    """Those that were told to begin a new cluster."""
    return {
        pid: words
        for pid, words in processes().items()
        if any(word.startswith("--force-new-cluster") for word in words)
    }


def end(which):
    """Waits until processes have ended. kubelet ends what is not in its manifests; one that has begun anew
    since does not know of them, and without an API server leaves them."""
    began = time.monotonic()
    while which():
        waited = time.monotonic() - began
        if waited > END:
            fail(f"etcd has not ended within {END} s")
        if waited > PATIENCE:
            for pid in which():
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
        time.sleep(1)


def is_active(unit):
    return subprocess.run(["systemctl", "is-active", "-q", unit]).returncode == 0


def is_booting():
    """Units that do not run may be about to."""
    said = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True).stdout
    return said.strip() in ("initializing", "starting")


def active_seconds(unit):
    """How long a unit has been active; 0 when it is not."""
    show = ["systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "--value", unit]
    began = subprocess.run(show, capture_output=True, text=True).stdout.strip()
    if not began.isdigit() or not is_active(unit):
        return 0
    return max(0, int(time.monotonic() - int(began) / 1e6))


def look():
    known = flags()
    running = processes()
    booting = is_booting()
    return {
        "kubelet": booting or is_active("kubelet.service"),
        "kubeletSeconds": active_seconds("kubelet.service"),
        "containerd": booting or is_active("containerd.service"),
        "live": read(LIVE),
        "aside": read(ASIDE),
        "copied": os.path.isdir(COPY),
        "runs": len(running) > 0,
        "forced": len(forced()) > 0,
        "healthy": health(known) if running else None,
        "members": members(known) if running else None,
    }


def fail(problem):
    print(json.dumps({"problem": problem}))
    sys.exit(0)


def put(path, text, like):
    """A file in one move, with owner and mode of another."""
    with open(STAGED, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(like, STAGED)
    state = os.stat(like)
    os.chown(STAGED, state.st_uid, state.st_gid)
    os.rename(STAGED, path)


def set_aside():
    """Keeps the manifest as it is. One that is kept already stays."""
    if os.path.exists(ASIDE):
        return
    text = read(LIVE)
    if text is None or "--force-new-cluster" in text:
        fail(f"{LIVE} is not the manifest of an etcd that can be set aside")
    shutil.copy2(LIVE, ASIDE + ".new")
    state = os.stat(LIVE)
    os.chown(ASIDE + ".new", state.st_uid, state.st_gid)
    os.sync()
    os.rename(ASIDE + ".new", ASIDE)


def stop():
    """Takes the manifest away and waits until etcd has ended."""
    kept = read(ASIDE)
    if kept is None:
        fail("the manifest is not kept")
    if read(LIVE) == kept:
        # etcd has run by it since: a copy from before is not of what it has now.
        shutil.rmtree(COPY, ignore_errors=True)
    if os.path.exists(LIVE):
        os.unlink(LIVE)
    end(processes)


def copy():
    """Copies the data directory. A copy that is whole stays: what came later is not what it keeps."""
    if os.path.isdir(COPY):
        return
    if processes():
        fail("etcd runs")
    source = data_folder()
    for name in os.listdir(FOLDER):
        if name.startswith("part."):
            shutil.rmtree(os.path.join(FOLDER, name), ignore_errors=True)
    used = subprocess.run(["du", "-sb", source], capture_output=True, text=True, check=True)
    wanted = int(used.stdout.split()[0])
    free = shutil.disk_usage(FOLDER).free
    if wanted > free:
        fail(f"a copy of {source} takes {wanted >> 20} MiB, and {free >> 20} MiB are free")
    part = tempfile.mkdtemp(prefix="part.", dir=FOLDER)
    subprocess.run(["cp", "-a", source, part + "/data"], check=True)
    os.sync()
    os.rename(part + "/data", COPY)
    os.rmdir(part)


def force():
    """Lets kubelet start etcd by the manifest that was given."""
    if not os.path.isdir(COPY):
        fail("the data is not copied")
    if "--force-new-cluster" not in MANIFEST:
        fail("no manifest was given")
    put(LIVE, MANIFEST, ASIDE)


def back():
    """Puts the manifest back as it was. When what was forced has ended, kubelet begins anew, so that
    nothing waits for its pauses between restarts; not before, since then it would leave that running."""
    text = read(ASIDE)
    if text is None:
        fail("the manifest is not kept")
    if read(LIVE) != text:
        put(LIVE, text, ASIDE)
    end(forced)
    subprocess.run(["systemctl", "restart", "kubelet.service"], check=True)


def units():
    """Starts what a node needs."""
    for unit in ["containerd.service", "kubelet.service"]:
        if not is_active(unit):
            subprocess.run(["systemctl", "start", unit], check=True, capture_output=True, text=True)


def clean():
    """Takes away what was kept."""
    if os.path.exists(ASIDE) and read(LIVE) != read(ASIDE):
        fail("the manifest of etcd is not as it was")
    # The copy first: without the manifest nothing would say that it is there.
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.rmtree(FOLDER)


ACTS = {"aside": set_aside, "stop": stop, "copy": copy, "force": force, "back": back, "clean": clean}


def main(act):
    if act == "look":
        print(json.dumps(look()))
        return
    try:
        if act == "units":
            units()
        else:
            os.makedirs(FOLDER, mode=0o700, exist_ok=True)
            handle = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail("another repair works in this node")
            ACTS[act]()
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()[-1:] or [""]
        fail(f"{' '.join(error.cmd)} ended with {error.returncode}: {said[0][:300]}")
    except OSError as error:
        fail(str(error)[:300])
    print(json.dumps({}))
