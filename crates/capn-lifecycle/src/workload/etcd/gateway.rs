//! What is asked of etcd's JSON gateway. Numbers of 64 bits are strings there.

use std::fmt;
use std::net::IpAddr;

use capn_text::shown;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Etcd};

const LIST: &str = "/v3/cluster/member/list";
const REMOVE: &str = "/v3/cluster/member/remove";
const ALARMS: &str = "/v3/maintenance/alarm";
const STATUS: &str = "/v3/maintenance/status";
/// What is kept of what a member calls its version.
const LONGEST_VERSION: usize = 64;
const TRANSFER: &str = "/v3/maintenance/transfer-leadership";

/// Identity of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok().map(Self)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identity.
    pub id: MemberId,
    /// Its name, which kubeadm makes that of its node; empty until it has started.
    pub name: String,
    /// It catches up and does not vote yet.
    pub is_learner: bool,
    /// The addresses at which the others reach it; known before it has started.
    pub peers: Vec<IpAddr>,
    /// Alarms it raises, for example `NOSPACE`.
    pub alarms: Vec<String>,
}

/// All members, as one of them sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The members.
    pub members: Vec<Member>,
    /// The leader, if there is one.
    pub leader: Option<MemberId>,
}

impl View {
    /// Reads the answers to the requests for members, alarms and status.
    pub(crate) fn read(list: Value, alarms: Value, status: Value) -> Result<Self, Error> {
        let list: ListAnswer = read(LIST, list)?;
        let alarms: AlarmAnswer = read(ALARMS, alarms)?;
        let status: StatusAnswer = read(STATUS, status)?;
        let alarms_of = |id: MemberId| {
            let all = alarms.alarms.iter();
            all.filter(|alarm| MemberId::read(alarm.member.as_deref()) == Some(id))
                .filter_map(|alarm| alarm.alarm.clone())
                .collect()
        };
        let members = list
            .members
            .into_iter()
            .filter_map(|listed| {
                let id = MemberId::read(listed.id.as_deref())?;
                let (name, is_learner) = (listed.name, listed.is_learner);
                let peers = listed.peers.iter().filter_map(|url| host(url)).collect();
                Some(Member { id, name, is_learner, peers, alarms: alarms_of(id) })
            })
            .collect();
        let leader = MemberId::read(status.leader.as_deref()).filter(|id| id.0 != 0);
        Ok(Self { members, leader })
    }

    /// The member on a node.
    #[must_use]
    pub fn on(&self, node: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == node)
    }
}

#[derive(Deserialize)]
struct ListAnswer {
    #[serde(default)]
    members: Vec<ListedMember>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMember {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_learner: bool,
    #[serde(rename = "peerURLs", default)]
    peers: Vec<String>,
}

/// The address in a URL such as `https://10.0.0.1:2380` or `https://[fd00::1]:2380`.
fn host(url: &str) -> Option<IpAddr> {
    let url: http::Uri = url.parse().ok()?;
    url.host()?.trim_matches(['[', ']']).parse().ok()
}

#[derive(Deserialize)]
struct AlarmAnswer {
    #[serde(default)]
    alarms: Vec<RaisedAlarm>,
}

#[derive(Deserialize)]
struct RaisedAlarm {
    #[serde(rename = "memberID")]
    member: Option<String>,
    alarm: Option<String>,
}

#[derive(Deserialize)]
struct StatusAnswer {
    leader: Option<String>,
    #[serde(default)]
    version: String,
    header: Option<Header>,
}

#[derive(Deserialize)]
struct Header {
    revision: Option<String>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its version, as `3.6.5`; a short text of the member's.
    pub version: String,
    /// The revision of its data.
    pub revision: Option<u64>,
}

impl Etcd {
    /// The members, their alarms and the leader, as the member on `node` sees them.
    ///
    /// # Errors
    ///
    /// Among others when there is no quorum: the list is one that the members agree on.
    pub async fn view(&self, node: &str) -> Result<View, Error> {
        let list = self.call(node, LIST, json!({ "linearizable": true })).await?;
        let alarms = self.call(node, ALARMS, json!({ "action": "GET" })).await?;
        let status = self.call(node, STATUS, json!({})).await?;
        View::read(list, alarms, status)
    }

    /// What the member on `node` says of itself.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn status(&self, node: &str) -> Result<Status, Error> {
        let answer: StatusAnswer = read(STATUS, self.call(node, STATUS, json!({})).await?)?;
        let revision = answer.header.and_then(|header| header.revision?.parse().ok());
        let version = shown::line(&answer.version, LONGEST_VERSION).into_owned();
        Ok(Status { version, revision })
    }

    /// Removes a member, asking the one on `node`. It is fine if it is gone already.
    ///
    /// # Errors
    ///
    /// etcd refuses when the rest would have no quorum.
    pub async fn remove(&self, node: &str, member: MemberId) -> Result<(), Error> {
        match self.call(node, REMOVE, json!({ "ID": member.to_string() })).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { message, .. }) if message.contains("member not found") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes another member the leader. Only the leader, which is on `node`, can do that.
    ///
    /// # Errors
    ///
    /// When the member on `node` is not the leader any more, or the other does not keep up.
    pub async fn transfer_leadership(&self, node: &str, to: MemberId) -> Result<(), Error> {
        self.call(node, TRANSFER, json!({ "targetID": to.to_string() })).await.map(drop)
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &'static str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|source| Error::Answer { path, source })
}
