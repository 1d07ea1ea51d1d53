//! Interpretation of server errors: whether retrying can help, and what the user can do.
//!
//! Servers report errors as text. The texts here are those of Incus 6.0 and LXD 5.0. An unknown
//! text counts as a temporary failure.

/// Whether and when retrying can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Only a change of the object can help.
    Final,
    /// Something on the server must change, for example an image, a profile or free space. Retried
    /// slowly.
    Blocked,
    /// May resolve on its own. Retried with exponential backoff.
    Passing,
}

/// Interpretation of a server error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whether retrying can help.
    pub class: Class,
    /// The remedy for the user, if known.
    pub hint: Option<&'static str>,
}

/// Hint for an error caused by a project restriction.
const FENCED: &str = "the identity's project is restricted: remove the setting, ask the server administrator to lift the restriction, or use an identity for another project";

/// Hint for a value that no server accepts.
const REFUSED_SPEC: &str = "correct spec.config or spec.devices";

/// Lower-case parts of an error message, and the interpretation if all of them occur.
const KNOWN: &[(&[&str], Class, &str)] = &[
    (
        &["not enough uid/gid available"],
        Class::Final,
        "the host has no free range of user IDs for another isolated instance: give root a larger range in /etc/subuid and /etc/subgid and restart the server, delete isolated instances, or use isolation shared",
    ),
    (
        &["newuidmap"],
        Class::Blocked,
        "the host's ID map is invalid: /etc/subuid and /etc/subgid must have exactly one line for root (installing both Incus and LXD adds a second one); correct both files and restart the server",
    ),
    (
        &["no space left on device"],
        Class::Blocked,
        "free up space in the server's storage pool, or use a larger pool",
    ),
    (
        &["run out of disk space"],
        Class::Blocked,
        "free up space in the server's storage pool, or use a larger pool",
    ),
    (
        &["disk quota exceeded"],
        Class::Blocked,
        "raise the limit of the project or the storage pool",
    ),
    (&["reached maximum"], Class::Blocked, "raise the limits of the project, or delete machines"),
    (
        &["requested profile", "doesn't exist"],
        Class::Blocked,
        "create the profile on the server, or correct spec.profiles",
    ),
    (
        &["image not provided"],
        Class::Blocked,
        "check the image name with `incus image list`; `capn image build` builds the default \
         images",
    ),
    (
        &["couldn't find image"],
        Class::Blocked,
        "check the image name with `incus image list`; `capn image build` builds the default \
         images",
    ),
    (
        &["image", "not found"],
        Class::Blocked,
        "check the image name with `incus image list`; `capn image build` builds the default \
         images",
    ),
    (
        &["failed getting remote image"],
        Class::Blocked,
        "check that the server reaches the image server, or build the image with `capn image build`",
    ),
    (
        &["dns name", "already used on network"],
        Class::Blocked,
        "an instance with that name in another project uses the same network: delete or rename it, or choose another name",
    ),
    (
        &["no root device could be found"],
        Class::Blocked,
        "give the profile a root disk device, or add one to spec.devices",
    ),
    (
        &["does not support load balancers"],
        Class::Final,
        "set spec.loadBalancer.ovn.networkName to an OVN network, or use another type of load balancer",
    ),
    (
        &["network not found"],
        Class::Blocked,
        "create the network on the server, or correct the profile or spec.devices",
    ),
    (
        &["storage pool not found"],
        Class::Blocked,
        "create the storage pool on the server, or correct the profile or spec.devices",
    ),
    (
        &["storage pool is unavailable"],
        Class::Blocked,
        "the server could not mount the storage pool when it started: check `incus storage list` and the server's log, restore the pool's source and restart the server, or use another pool",
    ),
    (
        &["privileged containers are forbidden"],
        Class::Final,
        "the identity's project does not allow privileged containers: set spec.unprivileged: true in the LXCCluster (or spec.isolation to shared or isolated), or use an identity for another project",
    ),
    (
        &["either directly or via a profile"],
        Class::Blocked,
        "the project limits that resource, so each machine must set its own limit: use a flavor such as c2-m4 (CPUs and memory), and set limits.processes or the size of the root disk, where the project limits them, in a profile of the project",
    ),
    (&["not allowed in project"], Class::Final, FENCED),
    (&["is forbidden"], Class::Final, FENCED),
    (&["are forbidden"], Class::Final, FENCED),
    (&["only managed network devices are allowed"], Class::Final, FENCED),
    (&["provided instance type doesn't exist"], Class::Final, "use a flavor such as c2-m4"),
    (&["bad custom instance type"], Class::Final, "use a flavor such as c2-m4"),
    (&["unknown configuration key"], Class::Final, "correct spec.config"),
    (&["invalid config"], Class::Final, "correct spec.config"),
    (&["invalid value for"], Class::Final, "correct spec.config"),
    (&["invalid devices"], Class::Final, "correct spec.devices"),
    (&["failed add validation for device"], Class::Final, "correct spec.devices"),
    (&["unsupported device type"], Class::Final, "correct spec.devices"),
    (&["invalid instance name"], Class::Final, "choose another name"),
    (
        &["parent device", "doesn't exist"],
        Class::Blocked,
        "create the network device on the host, or correct the profile or spec.devices",
    ),
    (
        &["failed to detect requested gpu"],
        Class::Blocked,
        "check which GPUs the host has (`incus info --resources`), or correct spec.devices",
    ),
    (
        &["unsupported protocol"],
        Class::Final,
        "the server does not support this image protocol: use another image or a newer server",
    ),
    (
        &["requested image's type", "doesn't match"],
        Class::Final,
        "use an image that matches the machine's spec.instanceType",
    ),
    // The message about an invalid value differs from key to key, but servers always report it
    // before they create anything.
    (&["failed creating instance record", "invalid"], Class::Final, REFUSED_SPEC),
    (&["failed creating instance record", "isn't a valid"], Class::Final, REFUSED_SPEC),
    (&["failed creating instance record", "must be"], Class::Final, REFUSED_SPEC),
    (&["failed creating instance record", "not a valid"], Class::Final, REFUSED_SPEC),
];

/// Interprets a server error.
pub fn diagnose(refusal: &str) -> Diagnosis {
    let text = refusal.to_lowercase();
    KNOWN.iter().find(|(parts, _, _)| parts.iter().all(|part| text.contains(part))).map_or(
        Diagnosis { class: Class::Passing, hint: None },
        |(_, class, hint)| Diagnosis { class: *class, hint: Some(hint) },
    )
}

/// Returns whether a creation failed because the name is taken, most likely by our own instance
/// that appeared since the last observation.
pub fn is_name_taken(refusal: &str) -> bool {
    let text = refusal.to_lowercase();
    text.contains("already exists") || text.contains("unique constraint failed: instances")
}

/// Returns the lines of an instance log (`lxc.log`) that explain why it did not start.
///
/// Returns at most `max_lines`, without the timestamp and source position at the start of each
/// line.
pub fn start_failure(log: &str, max_lines: usize) -> Vec<String> {
    log.lines()
        .filter(|line| line.contains(" ERROR "))
        .filter_map(|line| line.rsplit_once(" - ").map(|(_, text)| text.trim().to_owned()))
        .filter(|text| !text.is_empty())
        .take(max_lines)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_real_servers_are_recognized() {
        for (refusal, class) in [
            (
                "Failed creating instance record: Failed initializing instance: Not enough uid/gid available for the container",
                Class::Final,
            ),
            (
                "Failed checking if instance creation allowed: Invalid value \"true\" for config \"security.privileged\" on container \"a\" of project \"p\": Privileged containers are forbidden",
                Class::Final,
            ),
            (
                "Failed checking if instance creation allowed: Use of low-level config \"raw.lxc\" on container \"a\" of project \"p\" is forbidden",
                Class::Final,
            ),
            (
                "Failed checking if instance creation allowed: Invalid device \"b\" on container \"a\" of project \"p\": Unix character devices are forbidden",
                Class::Final,
            ),
            (
                "Failed checking if instance creation allowed: Failed getting usage of project entities: Instance \"a\" in project \"p\" has no \"limits.cpu\" config, either directly or via a profile",
                Class::Blocked,
            ),
            (
                "Failed checking if instance creation allowed: Failed getting usage of project entities: Instance \"a\" in project \"p\" has no \"size\" config set on the root device either directly or via a profile",
                Class::Blocked,
            ),
            (
                "Failed checking if instance creation allowed: Reached maximum aggregate value \"4GiB\" for \"limits.memory\" in project \"p\"",
                Class::Blocked,
            ),
            ("Requested profile \"nope\" doesn't exist", Class::Blocked),
            ("Image not provided for instance creation", Class::Blocked),
            ("Failed creating instance record: Unknown configuration key: nope", Class::Final),
            ("Provided instance type doesn't exist: nosuch", Class::Final),
            (
                "Failed add validation for device \"nob2\": Missing source path \"/nonexistent\" for disk \"nob2\"",
                Class::Final,
            ),
            ("Failed creating instance record: Invalid CPU limit syntax", Class::Final),
            ("Failed creating instance record: Invalid device type \"nosuch\"", Class::Final),
            ("Failed creating instance record: \"maybe\" isn't a valid value", Class::Final),
            (
                "Failed creating instance record: Schedule must be of the form: <minute> <hour> <day-of-month> <month> <day-of-week>",
                Class::Final,
            ),
            (
                "Failed creating instance record: Failed initializing instance: Invalid devices: Device validation failed for \"eth0\": Failed loading network: Network not found",
                Class::Blocked,
            ),
            ("Failed creating instance record: database is locked", Class::Passing),
            ("Bad custom instance type: c2-mx", Class::Final),
            ("Unsupported protocol: oci", Class::Final),
            (
                "Failed to start device \"d\": Parent device \"no-such-br\" doesn't exist",
                Class::Blocked,
            ),
            ("write /var/lib/incus/x: no space left on device", Class::Blocked),
            (
                "Failed creating instance: Storage pool is unavailable on this server",
                Class::Blocked,
            ),
            (
                "Failed creating instance from image: Unable to unpack image, run out of disk space",
                Class::Blocked,
            ),
            ("Failed to run: incusd forkstart: exit status 1", Class::Passing),
        ] {
            assert_eq!(diagnose(refusal).class, class, "{refusal}");
        }
    }

    #[test]
    fn a_name_conflict_is_recognized_in_both_spellings() {
        for refusal in [
            "Instance \"a\" already exists",
            "Add instance info to the database: Failed to create \"instances\" entry: UNIQUE constraint failed: instances.project_id, instances.name",
        ] {
            assert!(is_name_taken(refusal), "{refusal}");
        }
    }

    #[test]
    fn the_log_says_why_a_start_failed() {
        let log = "lxc a 20261124110849.577 ERROR    conf - ../src/lxc/conf.c:lxc_map_ids:3708 - newuidmap failed to write mapping \"newuidmap: write to uid_map failed: Invalid argument\": newuidmap 12441 0 1000000 1000000000
lxc a 20261124110849.577 ERROR    start - ../src/lxc/start.c:lxc_spawn:1788 - Failed to set up id mapping.
lxc a 20261124110849.587 WARN     start - ../src/lxc/start.c:lxc_abort:1036 - No such process";
        let lines = start_failure(log, 1);
        assert_eq!(
            lines,
            [
                "newuidmap failed to write mapping \"newuidmap: write to uid_map failed: Invalid argument\": newuidmap 12441 0 1000000 1000000000"
            ]
        );
        assert_eq!(diagnose(&lines[0]).class, Class::Blocked);
    }
}
