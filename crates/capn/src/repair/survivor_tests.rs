//! Steps to a single-member cluster, in a simulated instance whose program the test plays.

use std::sync::{Arc, Mutex};

use incus_client::api::{InstanceSource, InstancesPost};
use incus_sim::{ExecCall, ExecResult, Simulator};
use serde_json::{Value, json};

use super::*;
use crate::ui::testing::captured;

const MANIFEST: &str = "- etcd\n- --listen-client-urls=https://10.0.0.1:2379\n";
const MINUTE: Duration = Duration::from_secs(60);

/// Files and processes of a node's etcd, and the effects of `program.py` on them.
#[derive(Clone, Debug)]
struct Node {
    live: Option<String>,
    aside: Option<String>,
    copied: bool,
    /// Members in its data.
    members: usize,
    /// The manifest of the running process.
    runs_by: Option<String>,
    acts: Vec<String>,
}

impl Node {
    fn look(&mut self) -> Value {
        // kubelet follows the manifest.
        self.runs_by = self.live.clone();
        let forced = self.runs_by.as_deref().is_some_and(manifest::is_forced);
        if forced {
            self.members = 1;
        }
        json!({ "kubelet": true, "kubeletSeconds": 1, "containerd": true,
            "live": self.live, "aside": self.aside, "copied": self.copied,
            "runs": self.runs_by.is_some(), "forced": forced,
            "healthy": self.runs_by.as_ref().map(|_| self.members == 1),
            "members": self.runs_by.as_ref().map(|_| vec![json!({ "name": "a" }); self.members]) })
    }

    fn act(&mut self, name: &str, manifest: &str) -> Value {
        match name {
            "look" => return self.look(),
            "aside" => self.aside = self.aside.take().or(self.live.clone()),
            "stop" => (self.live, self.runs_by) = (None, None),
            "copy" => {
                assert!(self.runs_by.is_none(), "data is not copied from under a process");
                assert!(self.members > 1, "the copy is of the data as it was");
                self.copied = true;
            }
            "force" => {
                assert!(self.copied, "nothing is forced without a copy");
                self.live = Some(manifest.to_owned());
            }
            "back" => self.live = self.aside.clone(),
            other => panic!("unknown act {other}"),
        }
        self.acts.push(name.to_owned());
        json!({})
    }

    fn answer(&mut self, call: &ExecCall) -> ExecResult {
        let program = String::from_utf8_lossy(&call.stdin);
        let given = program.lines().next().and_then(|line| line.strip_prefix("MANIFEST = "));
        let manifest: String = serde_json::from_str(given.unwrap()).unwrap();
        let act = program.trim_end().rsplit("main(\"").next().unwrap().trim_end_matches("\")");
        let reply = self.act(act, &manifest).to_string();
        ExecResult { stdout: reply.into(), ..ExecResult::default() }
    }
}

async fn simulated_node() -> (Client, Arc<Mutex<Node>>, Simulator) {
    let node = Arc::new(Mutex::new(Node {
        live: Some(MANIFEST.into()),
        aside: None,
        copied: false,
        members: 3,
        runs_by: Some(MANIFEST.into()),
        acts: Vec::new(),
    }));
    let simulator = Simulator::new();
    let played = node.clone();
    simulator.on_exec(move |call| played.lock().unwrap().answer(call));
    simulator.add_image("default", "image", &[]);
    let client = Client::custom("simulator", simulator.connector());
    let post = InstancesPost {
        name: "a".into(),
        start: true,
        source: InstanceSource::alias("image"),
        ..InstancesPost::default()
    };
    client.create_instance(&post, None).await.unwrap().wait(MINUTE).await.unwrap();
    (client, node, simulator)
}

const ALL: [&str; 5] = ["aside", "stop", "copy", "force", "back"];

#[tokio::test]
async fn the_last_member_becomes_a_single_member_cluster() {
    let (client, node, _simulator) = simulated_node().await;
    let (_, err, ui) = captured();
    make_alone(&ui, &client, "a", Deadline::after(MINUTE)).await.unwrap();
    let node = node.lock().unwrap().clone();
    assert_eq!(node.acts, ALL);
    assert_eq!(node.live.as_deref(), Some(MANIFEST));
    assert!(node.copied && node.members == 1);
    assert!(err.text().contains("the etcd data of a is copied to /var/lib/capn-repair/data"));
}

#[tokio::test]
async fn an_interruption_after_any_step_can_be_resumed() {
    for ended_after in 1..ALL.len() {
        let (client, node, _simulator) = simulated_node().await;
        let (_, _, ui) = captured();
        let until = async {
            while node.lock().unwrap().acts.len() < ended_after {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = until => {}
            done = make_alone(&ui, &client, "a", Deadline::after(MINUTE)) => panic!("{done:?}"),
        }
        make_alone(&ui, &client, "a", Deadline::after(MINUTE)).await.unwrap();
        let node = node.lock().unwrap().clone();
        let mut acts = node.acts.clone();
        // A step whose response was lost may be repeated.
        acts.dedup();
        assert_eq!(acts, ALL, "{ended_after}");
        assert_eq!(node.live.as_deref(), Some(MANIFEST));
    }
}

#[tokio::test]
async fn a_failure_names_the_backup() {
    let (client, node, _simulator) = simulated_node().await;
    {
        let mut node = node.lock().unwrap();
        node.aside = Some("- another program\n".into());
        (node.live, node.runs_by, node.copied) = (None, None, true);
    }
    let (_, _, ui) = captured();
    let error = make_alone(&ui, &client, "a", Deadline::after(MINUTE)).await.unwrap_err();
    let text = error.render(|_, text| text.to_owned());
    assert!(text.contains("was not written by kubeadm"), "{text}");
    assert!(text.contains("is in /var/lib/capn-repair/data of instance a"), "{text}");
}
