#!/usr/bin/env python3
"""What a server has, without what differs from run to run; for tests/faults.sh.

    shape.py shape PREFIX < instances    names, states, configuration and devices
    shape.py runs  PREFIX < instances    which instance it is, and when it was started
"""

import json
import re
import sys

what, prefix = sys.argv[1], sys.argv[2]
# The random ends of names of machines, and the hash in a load balancer's.
RANDOM = re.compile(r"-md-0-[a-z0-9]+-[a-z0-9]+|-[0-9a-f]+-lb$")
# A cluster's own network has a random name.
NETWORK = re.compile(r"^capn-[0-9a-f]{8}$")
DIFFERS = re.compile(r"^volatile\.|-uid$|-hash$|^image\.")


def shape(instance):
    config = {k: RANDOM.sub("-X", v) for k, v in instance["config"].items() if not DIFFERS.search(k)}
    devices = {
        name: {k: NETWORK.sub("capn-X", v) for k, v in device.items()}
        for name, device in instance["devices"].items()
    }
    return {
        "name": RANDOM.sub("-X", instance["name"]),
        "status": instance["status"],
        "profiles": instance["profiles"],
        "config": config,
        "devices": devices,
    }


instances = json.load(sys.stdin) or []
if what == "shape":
    shapes = (json.dumps(shape(instance), sort_keys=True) for instance in instances)
    print("\n".join(sorted(shapes)).replace(prefix, "CLUSTER"))
else:
    for instance in sorted(instances, key=lambda instance: instance["name"]):
        print(instance["name"], instance["config"].get("volatile.uuid"), instance["last_used_at"])
