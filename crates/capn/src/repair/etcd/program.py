"""Inspects the etcd of a control plane node, and carries out single steps towards a single-member cluster.

Run as root in the node by `python3 -I -`, with MANIFEST set before and `main(ACT)` called after. Each step can
be interrupted anywhere and repeated; the directory contains the state. Prints one JSON object.
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
DIRECTORY = "/var/lib/capn-repair"
ASIDE = DIRECTORY + "/etcd.yaml"
COPY = DIRECTORY + "/data"
# Outside of the manifest directory: kubelet reads every file in it.
STAGED = "/etc/kubernetes/.etcd.capn-repair"
# Maximum size of a manifest and of a response, in bytes.
LONGEST = 65536
# Seconds for kubelet to stop etcd, whose own grace period is 30, and for etcd to stop in total.
PATIENCE = 45
END = 90


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(LONGEST)
    except FileNotFoundError:
        return None


def flags():
    """The flags of the original manifest."""
    text = read(ASIDE) or read(LIVE) or ""
    found = re.findall(r"^\s*- --([a-z-]+)=(\S+)\s*$", text, re.MULTILINE)
    return dict(found)


def data_directory():
    path = flags().get("data-dir", "/var/lib/etcd")
    if not re.fullmatch(r"/[A-Za-z0-9._/-]+", path) or ".." in path:
        fail(f"the manifest has an invalid data directory: {path[:100]!r}")
    return path


def first(urls):
    return urls.split(",")[0] if urls else None


def health(known):
    """Whether etcd has a leader; None if it does not respond."""
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
    """The members of etcd, which it reports even without a leader; None if it does not respond."""
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
    """Command lines of etcd processes, by process id."""
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
    """Those started with the flag to force a new cluster."""
    return {
        pid: words
        for pid, words in processes().items()
        if any(word.startswith("--force-new-cluster") for word in words)
    }


def end(which):
    """Waits until processes have exited. kubelet stops pods that are not in its manifests; a restarted
    kubelet does not know them, and without an API server leaves them running."""
    began = time.monotonic()
    while which():
        waited = time.monotonic() - began
        if waited > END:
            fail(f"etcd did not stop within {END} s")
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
    """Inactive units may be about to start."""
    said = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True).stdout
    return said.strip() in ("initializing", "starting")


def active_seconds(unit):
    """Seconds since a unit became active; 0 if it is not active."""
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
    """Writes a file atomically, with owner and mode of another."""
    with open(STAGED, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(like, STAGED)
    state = os.stat(like)
    os.chown(STAGED, state.st_uid, state.st_gid)
    os.rename(STAGED, path)


def set_aside():
    """Backs up the manifest. An existing backup is kept."""
    if os.path.exists(ASIDE):
        return
    text = read(LIVE)
    if text is None or "--force-new-cluster" in text:
        fail(f"{LIVE} is not an etcd manifest that can be backed up")
    shutil.copy2(LIVE, ASIDE + ".new")
    state = os.stat(LIVE)
    os.chown(ASIDE + ".new", state.st_uid, state.st_gid)
    os.sync()
    os.rename(ASIDE + ".new", ASIDE)


def stop():
    """Removes the manifest and waits until etcd has stopped."""
    kept = read(ASIDE)
    if kept is None:
        fail("the manifest is not backed up")
    if read(LIVE) == kept:
        # etcd has run with it since, so an earlier copy of the data is outdated.
        shutil.rmtree(COPY, ignore_errors=True)
    if os.path.exists(LIVE):
        os.unlink(LIVE)
    end(processes)


def copy():
    """Copies the data directory. A complete copy is kept, since later data is not the original data."""
    if os.path.isdir(COPY):
        return
    if processes():
        fail("etcd is running")
    source = data_directory()
    for name in os.listdir(DIRECTORY):
        if name.startswith("part."):
            shutil.rmtree(os.path.join(DIRECTORY, name), ignore_errors=True)
    used = subprocess.run(["du", "-sb", source], capture_output=True, text=True, check=True)
    wanted = int(used.stdout.split()[0])
    free = shutil.disk_usage(DIRECTORY).free
    if wanted > free:
        fail(f"a copy of {source} needs {wanted >> 20} MiB, but only {free >> 20} MiB are free")
    part = tempfile.mkdtemp(prefix="part.", dir=DIRECTORY)
    subprocess.run(["cp", "-a", source, part + "/data"], check=True)
    os.sync()
    os.rename(part + "/data", COPY)
    os.rmdir(part)


def force():
    """Lets kubelet start etcd with the given manifest."""
    if not os.path.isdir(COPY):
        fail("the data is not copied")
    if "--force-new-cluster" not in MANIFEST:
        fail("no manifest is given")
    put(LIVE, MANIFEST, ASIDE)


def back():
    """Restores the manifest. Restarts kubelet once the forced etcd has stopped, to avoid its restart
    backoff; not earlier, since kubelet would then leave the forced etcd running."""
    text = read(ASIDE)
    if text is None:
        fail("the manifest is not backed up")
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
    """Removes the backups."""
    if os.path.exists(ASIDE) and read(LIVE) != read(ASIDE):
        fail("the etcd manifest is not the original one")
    # The copy first: without the manifest, nothing would show that it exists.
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.rmtree(DIRECTORY)


ACTS = {"aside": set_aside, "stop": stop, "copy": copy, "force": force, "back": back, "clean": clean}


def main(act):
    if act == "look":
        print(json.dumps(look()))
        return
    try:
        if act == "units":
            units()
        else:
            os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
            handle = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail("another repair is running in this node")
            ACTS[act]()
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()[-1:] or [""]
        fail(f"{' '.join(error.cmd)} exited with {error.returncode}: {said[0][:300]}")
    except OSError as error:
        fail(str(error)[:300])
    print(json.dumps({}))
