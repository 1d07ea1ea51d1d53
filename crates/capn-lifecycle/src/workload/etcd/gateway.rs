//! Requests to etcd's JSON gateway, in which 64-bit numbers are strings.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use capn_text::display;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Etcd};

const LIST: &str = "/v3/cluster/member/list";
const REMOVE: &str = "/v3/cluster/member/remove";
const ALARMS: &str = "/v3/maintenance/alarm";
const STATUS: &str = "/v3/maintenance/status";
/// Maximum length of a member's version string.
const LONGEST_VERSION: usize = 64;
const TRANSFER: &str = "/v3/maintenance/transfer-leadership";

/// ID of a member.
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

/// An etcd member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// ID of the member.
    pub id: MemberId,
    /// Name of the member, which kubeadm sets to that of its node. Empty until it has started.
    pub name: String,
    /// Whether it is still catching up and does not vote.
    pub is_learner: bool,
    /// Peer addresses. They are known before it has started.
    pub peers: Vec<IpAddr>,
    /// Active alarms, for example `NOSPACE`.
    pub alarms: Vec<String>,
}

/// All members, as seen by one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The members.
    pub members: Vec<Member>,
    /// The leader, if there is one.
    pub leader: Option<MemberId>,
}

impl View {
    /// Parses the responses for members, alarms and status.
    pub(crate) fn read(list: Value, alarms: Value, status: Value) -> Result<Self, Error> {
        let list: ListAnswer = read(LIST, list)?;
        let alarms: AlarmAnswer = read(ALARMS, alarms)?;
        let status: StatusAnswer = read(STATUS, status)?;
        // Each alarm goes to one member only, even if a server repeats IDs.
        let mut alarms_of: HashMap<MemberId, Vec<String>> = HashMap::new();
        for alarm in alarms.alarms {
            if let (Some(id), Some(alarm)) = (MemberId::read(alarm.member.as_deref()), alarm.alarm)
            {
                alarms_of.entry(id).or_default().push(alarm);
            }
        }
        let members = list
            .members
            .into_iter()
            .filter_map(|listed| {
                let id = MemberId::read(listed.id.as_deref())?;
                let (name, is_learner) = (listed.name, listed.is_learner);
                let peers = listed.peers.iter().filter_map(|url| host(url)).collect();
                Some(Member {
                    id,
                    name,
                    is_learner,
                    peers,
                    alarms: alarms_of.remove(&id).unwrap_or_default(),
                })
            })
            .collect();
        let leader = MemberId::read(status.leader.as_deref()).filter(|id| id.0 != 0);
        Ok(Self { members, leader })
    }

    /// Returns the member on a node.
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

/// Returns the address in a URL such as `https://10.0.0.1:2380` or `https://[fd00::1]:2380`.
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

/// Status of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Version, for example `3.6.5`, truncated.
    pub version: String,
    /// Revision of its data.
    pub revision: Option<u64>,
}

impl Etcd {
    /// Returns the members, their alarms and the leader, as seen by the member on `node`.
    ///
    /// # Errors
    ///
    /// [`Error`], for example if there is no quorum: the list is read with consensus.
    pub async fn view(&self, node: &str) -> Result<View, Error> {
        let list = self.call(node, LIST, json!({ "linearizable": true })).await?;
        let alarms = self.call(node, ALARMS, json!({ "action": "GET" })).await?;
        let status = self.call(node, STATUS, json!({})).await?;
        View::read(list, alarms, status)
    }

    /// Returns the status of the member on `node`.
    ///
    /// # Errors
    ///
    /// [`Error`] if it does not respond.
    pub async fn status(&self, node: &str) -> Result<Status, Error> {
        let answer: StatusAnswer = read(STATUS, self.call(node, STATUS, json!({})).await?)?;
        let revision = answer.header.and_then(|header| header.revision?.parse().ok());
        let version = display::line(&answer.version, LONGEST_VERSION).into_owned();
        Ok(Status { version, revision })
    }

    /// Removes a member, with a request to the one on `node`. A missing member is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the remaining members would have no quorum.
    pub async fn remove(&self, node: &str, member: MemberId) -> Result<(), Error> {
        match self.call(node, REMOVE, json!({ "ID": member.to_string() })).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { message, .. }) if message.contains("member not found") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Transfers the leadership to another member. Only the leader, which is on `node`, can do
    /// that.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the member on `node` is no longer the leader, or if the other member
    /// lags behind.
    pub async fn transfer_leadership(&self, node: &str, to: MemberId) -> Result<(), Error> {
        self.call(node, TRANSFER, json!({ "targetID": to.to_string() })).await.map(drop)
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &'static str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|source| Error::Answer { path, source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn alarms_are_not_multiplied_by_repeated_members() {
        let list = json!({ "members": [{ "ID": "1" }, { "ID": "1" }, { "ID": "2" }] });
        let alarms = json!({ "alarms": [
            { "memberID": "1", "alarm": "NOSPACE" }, { "memberID": "2", "alarm": "CORRUPT" },
        ] });
        let view = View::read(list, alarms, json!({})).unwrap();
        let alarms: Vec<_> = view.members.into_iter().map(|member| member.alarms).collect();
        assert_eq!(alarms, [vec!["NOSPACE".to_owned()], vec![], vec!["CORRUPT".to_owned()]]);
    }
}
