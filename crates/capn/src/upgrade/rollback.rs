//! Plans the rollback of an upgrade that has just begun, or why it is refused. Pure functions
//! without I/O and clock.
//!
//! A rollback is possible while all original control plane machines exist and no new one is Ready:
//! the API servers of the old version still respond. The new machine is then the only one without
//! the requested version, and the KubeadmControlPlane deletes it. Later, it would be a downgrade,
//! which Kubernetes does not support.

use super::plan::{Plan, Rollout, Step};
use super::refusal::Refusal;
use super::seen::{Group, Member, Seen};
use crate::preflight::KubernetesVersion;

/// Plans the rollback.
///
/// # Errors
///
/// Returns the first reason against it.
pub(super) fn plan(seen: &Seen) -> Result<Plan, Refusal> {
    if seen.is_leaving {
        return Err(Refusal::Leaving);
    }
    if seen.has_topology {
        return Err(Refusal::Topology);
    }
    let control_plane = seen.control_plane.as_ref().ok_or(Refusal::NoControlPlane)?;
    let before = version_before(control_plane);
    let plan = Plan {
        from: before.is_new_there.unwrap_or_else(|| control_plane.version.clone()),
        to: before.version.clone(),
        steps: Vec::new(),
        skew: 0,
    };
    if control_plane.version == before.version && control_plane.is_rolled_out() {
        return Ok(plan);
    }
    if seen.is_paused {
        return Err(Refusal::Paused);
    }
    let of_before = |member: &&Member| member.version.as_ref() == Some(&before.version);
    let staying = control_plane.machines.iter().filter(of_before).filter(|m| !m.is_leaving).count();
    let new = || control_plane.machines.iter().filter(|member| !of_before(member));
    let ready = new().find(|member| member.is_ready);
    let is_late = staying < control_plane.replicas || ready.is_some();
    // The version is already reset; only waiting is left.
    if is_late && control_plane.version != before.version {
        let machine = ready.or_else(|| new().next()).map(|member| member.name.clone());
        return Err(Refusal::TooLate { machine, version: control_plane.version.clone() });
    }
    let machines: Vec<String> = new().map(|member| member.name.clone()).collect();
    let rollout = Rollout {
        object: control_plane.name.clone(),
        from: plan.from.clone(),
        to: before.version.clone(),
        count: machines.len(),
        machines,
    };
    Ok(Plan { steps: vec![Step::ControlPlane(rollout)], ..plan })
}

/// State before the upgrade.
struct Before {
    version: KubernetesVersion,
    /// Whether a machine of another, newer version exists.
    is_new_there: Option<KubernetesVersion>,
}

/// Returns the version of the oldest machine that is not being deleted.
fn version_before(group: &Group) -> Before {
    let staying = group.machines.iter().filter(|member| !member.is_leaving);
    let oldest = staying.filter_map(|member| member.version.as_ref()).min();
    let version = oldest.unwrap_or(&group.version).clone();
    let newest = group.machines.iter().filter_map(|member| member.version.as_ref()).max();
    let is_new_there = newest.filter(|newest| **newest > version).cloned();
    Before { version, is_new_there }
}

#[cfg(test)]
mod tests {
    use super::super::seen::TemplateImage;
    use super::*;

    fn v(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    /// Returns a control plane: requested version, number of machines, and the machines: `1.36.1`,
    /// with `-` when it is being deleted, with `+` when it is Ready.
    fn seen(version: &str, replicas: usize, machines: &[&str]) -> Seen {
        let member = |(number, text): (usize, &&str)| Member {
            name: format!("cp-{number}"),
            version: Some(v(text.trim_end_matches(['+', '-']))),
            is_leaving: text.ends_with('-'),
            is_ready: text.ends_with('+'),
        };
        let control_plane = Group {
            name: "cp".into(),
            version: v(version),
            replicas,
            machines: machines.iter().enumerate().map(member).collect(),
            image: TemplateImage::OfVersion,
            held: None,
        };
        Seen { cluster: "demo".into(), control_plane: Some(control_plane), ..Seen::default() }
    }

    #[test]
    fn an_upgrade_is_taken_back_while_no_new_control_plane_is_ready() {
        let said = |seen: &Seen| match plan(seen) {
            Err(refusal) => refusal.to_string(),
            Ok(plan) if plan.steps.is_empty() => format!("nothing to do: {}", plan.to),
            Ok(plan) => {
                let Some(Step::ControlPlane(rollout)) = plan.steps.last() else {
                    panic!("{plan:?}")
                };
                format!("{} to {} without {:?}", rollout.from, rollout.to, rollout.machines)
            }
        };
        let (old, new) = ("1.36.1+", "1.37.2");
        for (what, seen, wanted) in [
            ("no upgrade", seen("v1.36.1", 1, &[old]), "nothing to do: v1.36.1"),
            ("an upgrade is over", seen("v1.37.2", 1, &["1.37.2+"]), "nothing to do: v1.37.2"),
            ("only asked for", seen("v1.37.2", 1, &[old]), "v1.37.2 to v1.36.1 without []"),
            (
                "a new one starts",
                seen("v1.37.2", 1, &[old, new]),
                r#"v1.37.2 to v1.36.1 without ["cp-1"]"#,
            ),
            (
                "of three",
                seen("v1.37.2", 3, &[old, old, old, new]),
                r#"v1.37.2 to v1.36.1 without ["cp-3"]"#,
            ),
            ("the new one is Ready", seen("v1.37.2", 1, &[old, "1.37.2+"]), "`cp-1` runs v1.37.2"),
            (
                "an old one leaves",
                seen("v1.37.2", 3, &["1.36.1-", old, old, new]),
                "`cp-3` runs v1.37.2",
            ),
            ("an old one is gone", seen("v1.37.2", 3, &[old, old, new]), "`cp-2` runs v1.37.2"),
            (
                "asked for already",
                seen("v1.36.1", 1, &[old, "1.37.2-"]),
                r#"v1.37.2 to v1.36.1 without ["cp-1"]"#,
            ),
        ] {
            let said = said(&seen);
            assert!(said.starts_with(wanted), "{what}: {said}, not {wanted}");
        }
    }
}
