//! Times of events in the instances of a cluster, from the server and from a small program run in
//! each instance.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::run::{Line, run};

/// Prints lines with a key and seconds since 1970.
const PROGRAM: &str = include_str!("node-timestamps.sh");
/// More lines than the program prints.
const MOST_LINES: usize = 60;

/// Seconds since 1970, by key.
pub(super) type Timestamps = BTreeMap<String, f64>;

/// An instance of a cluster, with its events.
#[derive(Debug, PartialEq)]
pub(super) struct NodeTimes {
    /// Its name on the server.
    pub(super) name: String,
    /// Role and number, such as `worker-2`; numbered by age.
    pub(super) part: String,
    pub(super) timestamps: Timestamps,
}

#[derive(Debug, Deserialize)]
struct Instance {
    name: String,
    config: BTreeMap<String, String>,
    created_at: jiff::Timestamp,
    last_used_at: jiff::Timestamp,
    state: Option<State>,
}

#[derive(Debug, Deserialize)]
struct State {
    /// Absent on older servers.
    started_at: Option<jiff::Timestamp>,
}

/// Reads the instances with `key_value` in their configuration, and runs the program in each.
pub(super) fn of_instances(key_value: &str) -> anyhow::Result<Vec<NodeTimes>> {
    let output = Command::new("incus")
        .args(["list", "--format", "json", key_value])
        .output()
        .context("cannot run `incus`")?;
    ensure!(output.status.success(), "`incus list {key_value}` failed");
    let mut nodes = known_to_server(&output.stdout)?;
    for node in &mut nodes {
        let ran = run(Command::new("incus").args(["exec", &node.name, "--", "sh", "-c", PROGRAM]))?;
        let created = node.timestamps.get("created").copied().unwrap_or(0.0);
        node.timestamps.extend(printed_by_node(&ran.lines, created));
    }
    Ok(nodes)
}

/// The instances in `list`: load balancer, control planes and workers, oldest first.
fn known_to_server(list: &[u8]) -> anyhow::Result<Vec<NodeTimes>> {
    let mut instances: Vec<Instance> =
        serde_json::from_slice(list).context("cannot parse the output of `incus list`")?;
    instances.sort_by_key(|instance| instance.created_at);
    let mut nodes = Vec::new();
    for (role, short) in [("loadbalancer", "lb"), ("control-plane", "cp"), ("worker", "worker")] {
        let is =
            |found: &&Instance| found.config.get("user.cluster-role").is_some_and(|it| it == role);
        for (index, instance) in instances.iter().filter(is).enumerate() {
            // Servers without a start time report when the instance was last used.
            let started = instance.state.as_ref().and_then(|state| state.started_at);
            let timestamps = [
                ("created", instance.created_at),
                ("started", started.unwrap_or(instance.last_used_at)),
            ];
            nodes.push(NodeTimes {
                name: instance.name.clone(),
                part: format!("{short}-{}", index + 1),
                timestamps: timestamps.map(|(key, at)| (key.to_owned(), seconds(at))).into(),
            });
        }
    }
    Ok(nodes)
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Parses the output of the program in an instance created at `created`. Ignores other lines and
/// older times: if storage is copied instead of unpacked, directories have the timestamps of the
/// image.
fn printed_by_node(lines: &[Line], created: f64) -> Timestamps {
    let mut timestamps = Timestamps::new();
    for line in lines.iter().take(MOST_LINES) {
        match line.text.split_once('=') {
            Some(("cloud-init", status)) => timestamps.extend(stages(status)),
            Some((key, value)) => {
                if let Some(at) = value.parse().ok().filter(|at| f64::is_finite(*at)) {
                    timestamps.insert(key.to_owned(), at);
                }
            }
            None => {}
        }
    }
    timestamps.retain(|_, at| *at >= created);
    timestamps
}

/// The stages recorded by cloud-init. Bootstrap data runs in the last one.
fn stages(status: &str) -> Timestamps {
    let Ok(status) = serde_json::from_str::<serde_json::Value>(status) else {
        return Timestamps::new();
    };
    [
        ("init-local", "init-local", "finished"),
        ("init", "init", "finished"),
        ("modules-config", "modules-config", "finished"),
        ("final-began", "modules-final", "start"),
        ("final", "modules-final", "finished"),
    ]
    .into_iter()
    .filter_map(|(key, stage, end)| Some((key.to_owned(), status["v1"][stage][end].as_f64()?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{Line, known_to_server, printed_by_node};

    fn said(output: &str) -> Vec<(String, f64)> {
        let lines: Vec<_> =
            output.lines().map(|text| Line { at: 0.0, text: text.to_owned() }).collect();
        printed_by_node(&lines, 2.0).into_iter().collect()
    }

    #[test]
    fn a_node_reports_timestamps_and_stages() {
        let cases: [(&str, &[(&str, f64)]); 9] = [
            ("", &[]),
            ("certs=1795981520.816636", &[("certs", 1_795_981_520.816_636)]),
            ("ready=1795981536.000000000", &[("ready", 1_795_981_536.0)]),
            (
                "certs=5\nnot a moment\netcd=\ncni=soon\nsentinel=7.5",
                &[("certs", 5.0), ("sentinel", 7.5)],
            ),
            ("certs=NaN\nsystemd=inf", &[]),
            ("unpack=0\nunpacked=1.999\nsystemd=2.0", &[("systemd", 2.0)]),
            ("cloud-init={\"v1\":", &[]),
            ("cloud-init={\"v1\":{\"init\":{\"finished\":null,\"start\":3.0}}}", &[]),
            (
                concat!(
                    "cloud-init={\"v1\":{\"datasource\":\"DataSourceNoCloud[seed=/var]\",",
                    "\"init\":{\"errors\":[],\"finished\":18.25,\"start\":17.5},",
                    "\"init-local\":{\"errors\":[],\"finished\":17.25,\"start\":16.5},",
                    "\"modules-config\":{\"errors\":[],\"finished\":19.25,\"start\":19.0},",
                    "\"modules-final\":{\"errors\":[],\"finished\":null,\"start\":19.5},\"stage\":null}}"
                ),
                &[
                    ("final-began", 19.5),
                    ("init", 18.25),
                    ("init-local", 17.25),
                    ("modules-config", 19.25),
                ],
            ),
        ];
        for (output, timestamps) in cases {
            let timestamps: Vec<_> =
                timestamps.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect();
            assert_eq!(said(output), timestamps, "{output}");
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        let endless: String = (0..1000).map(|n| format!("key{n}=3\n")).collect();
        assert_eq!(said(&endless).len(), super::MOST_LINES);
    }

    #[test]
    fn instances_are_numbered_by_age_within_their_role() {
        let instance = |name: &str, role: &str, created: u32, state: &str| {
            format!(
                r#"{{"name": "{name}", "config": {{"user.cluster-role": "{role}"}}, "state": {state},
                    "created_at": "1970-01-01T00:00:0{created}.5Z", "last_used_at": "1970-01-01T00:00:09Z"}}"#
            )
        };
        let list = format!(
            "[{}, {}, {}, {}]",
            instance("w-old", "worker", 2, r#"{"started_at": "1970-01-01T01:00:03+01:00"}"#),
            instance("cp-a", "control-plane", 1, r#"{"status": "Running"}"#),
            instance("w-new", "worker", 4, "null"),
            instance("balancer", "loadbalancer", 3, "null"),
        );
        let found: Vec<_> = known_to_server(list.as_bytes())
            .unwrap()
            .into_iter()
            .map(|node| {
                (node.part, node.name, node.timestamps["created"], node.timestamps["started"])
            })
            .collect();
        let is = |part: &str, name: &str, created, started| {
            (part.to_owned(), name.to_owned(), created, started)
        };
        assert_eq!(
            found,
            [
                is("lb-1", "balancer", 3.5, 9.0),
                is("cp-1", "cp-a", 1.5, 9.0),
                is("worker-1", "w-old", 2.5, 3.0),
                is("worker-2", "w-new", 4.5, 9.0),
            ]
        );
    }
}
