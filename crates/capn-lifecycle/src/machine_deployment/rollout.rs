//! Computes the size of each set of a deployment. Pure.
//!
//! The arithmetic is that of upstream. It assumes the worst case in every step: that a set that is
//! scaled down loses working machines.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The properties of a set that the arithmetic needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetView {
    pub(super) name: String,
    /// Creation time in seconds. The lowest is the oldest.
    pub(super) created: i64,
    /// Desired number of machines.
    pub(super) wanted: i32,
    /// Current number of machines.
    pub(super) have: i32,
    /// Number of available machines.
    pub(super) available: i32,
    /// Number of machines that are not being deleted.
    pub(super) staying: i32,
}

/// Bounds of a rolling update, in machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Maximum number of machines beyond the replicas.
    pub(super) surge: i32,
    /// Maximum number of unavailable machines.
    pub(super) unavailable: i32,
}

/// Desired number of machines of a deployment, and how it may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) replicas: i32,
    pub(super) bounds: Bounds,
}

/// New sizes, by set name. Sets without a change are omitted.
pub(super) type Sizes = BTreeMap<String, i32>;

/// Resolves a number, or a percentage of `total`. `None` if it is invalid.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(count) => Some(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent.checked_mul(i64::from(total))?;
            let rounding = if round_up { 99 } else { 0 };
            let whole = product.checked_add(rounding)?.div_euclid(100);
            i32::try_from(whole).ok()
        }
    }
}

/// Returns the bounds in machines: surge is rounded up, unavailable down. If both are zero, one
/// machine may be unavailable, because otherwise no progress would be possible.
pub(super) fn bounds(
    replicas: i32,
    surge: Option<&IntOrString>,
    unavailable: Option<&IntOrString>,
) -> Bounds {
    let surge = surge.map_or(Some(1), |value| scaled(value, replicas, true)).unwrap_or(1).max(0);
    let unavailable =
        unavailable.map_or(Some(0), |value| scaled(value, replicas, false)).unwrap_or(0).max(0);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { surge, unavailable: unavailable.min(replicas) }
}

/// Returns the sizes for the next step of a rolling update from the `old` sets to the `new` one.
pub(super) fn rolling(goal: Goal, new: &SetView, old: &[SetView]) -> Sizes {
    let mut old: Vec<_> = old.to_vec();
    old.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
    let mut sizes = Sizes::new();
    grow(goal.replicas, goal.replicas.saturating_add(goal.bounds.surge), new, &old, &mut sizes);
    shrink(goal, new, &old, &mut sizes);
    unblock(new, &old, &mut sizes);
    sizes
}

/// Returns the sizes if machines are only replaced when a user deletes one.
pub(super) fn on_delete(goal: Goal, new: &SetView, old: &[SetView]) -> Sizes {
    let mut old: Vec<_> = old.to_vec();
    old.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
    let mut sizes = Sizes::new();
    // A machine that was deleted in an old set is not created there again.
    for set in &old {
        let left = set.wanted.min(set.staying);
        if left < set.wanted {
            sizes.insert(set.name.clone(), left);
        }
    }
    grow(goal.replicas, goal.replicas, new, &old, &mut sizes);
    let size = |sizes: &Sizes, set: &SetView| sizes.get(&set.name).copied().unwrap_or(set.wanted);
    let total: i32 = old.iter().chain([new]).map(|set| size(&sizes, set)).sum();
    let mut excess = (total - goal.replicas).max(0);
    for set in &old {
        let now = size(&sizes, set);
        let less = excess.min(now);
        if less > 0 {
            sizes.insert(set.name.clone(), now - less);
            excess -= less;
        }
    }
    sizes
}

/// Returns the sizes if no rollout is allowed: the existing sets are scaled proportionally.
pub(super) fn proportional(goal: Goal, sets: &[SetView]) -> Sizes {
    let mut sizes = Sizes::new();
    let mut active: Vec<_> = sets.iter().filter(|set| set.wanted > 0).collect();
    if active.len() <= 1 {
        let newest = sets.iter().max_by_key(|set| (set.wanted > 0, set.created));
        if let Some(set) = newest.filter(|set| set.wanted != goal.replicas) {
            sizes.insert(set.name.clone(), goal.replicas);
        }
        return sizes;
    }
    let total: i32 = active.iter().map(|set| set.wanted).sum();
    let allowed =
        if goal.replicas > 0 { goal.replicas.saturating_add(goal.bounds.surge) } else { 0 };
    let difference = allowed.min(goal.replicas.max(total)).max(0) - total;
    let target = if total > allowed { allowed } else { total + difference.max(0) };
    // The largest set gets the rounding remainder.
    active.sort_by(|a, b| b.wanted.cmp(&a.wanted).then_with(|| a.created.cmp(&b.created)));
    let mut given = 0;
    for set in active.iter().skip(1) {
        let share = i64::from(set.wanted) * i64::from(target) / i64::from(total.max(1));
        let share = i32::try_from(share).unwrap_or(set.wanted);
        given += share;
        if share != set.wanted {
            sizes.insert(set.name.clone(), share);
        }
    }
    if let Some(largest) = active.first()
        && target - given != largest.wanted
    {
        sizes.insert(largest.name.clone(), (target - given).max(0));
    }
    sizes
}

/// Scales the new set up to the replicas, as long as all sets together have at most `most`
/// machines.
fn grow(replicas: i32, most: i32, new: &SetView, old: &[SetView], sizes: &mut Sizes) {
    if new.wanted == replicas {
        return;
    }
    if new.wanted > replicas {
        sizes.insert(new.name.clone(), replicas);
        return;
    }
    // A machine that is being deleted still counts.
    let taken: i32 = old.iter().chain([new]).map(|set| set.wanted.max(set.have)).sum();
    let room = (most - taken).max(0).min(replicas - new.wanted);
    if room > 0 {
        sizes.insert(new.name.clone(), new.wanted + room);
    }
}

/// Scales old sets down, the oldest first and unavailable machines before available ones, as long
/// as enough machines stay available.
fn shrink(goal: Goal, new: &SetView, old: &[SetView], sizes: &mut Sizes) {
    if old.iter().map(|set| set.wanted).sum::<i32>() == 0 {
        return;
    }
    let least = (goal.replicas - goal.bounds.unavailable).max(0);
    let all = || old.iter().chain([new]);
    let wanted: i32 = all().map(|set| set.wanted).sum();
    let available: i32 = all().map(|set| set.available).sum();
    let leaving: i32 = all()
        .map(|set| {
            let size = sizes.get(&set.name).map_or(set.wanted, |size| set.wanted.min(*size));
            (set.have - size).max(0)
        })
        .sum();
    // As long as new machines do not work, no more old ones are removed.
    let new_unavailable = (new.wanted - new.available).max(0);
    let may_go = (wanted - leaving - least - new_unavailable).max(0);
    let (may_go, available) = shrink_pass(old, sizes, may_go, available, least, true);
    shrink_pass(old, sizes, may_go, available, least, false);
}

fn shrink_pass(
    old: &[SetView],
    sizes: &mut Sizes,
    mut may_go: i32,
    mut available: i32,
    least: i32,
    only_unavailable: bool,
) -> (i32, i32) {
    for set in old {
        if may_go <= 0 {
            break;
        }
        let size = sizes.get(&set.name).copied().unwrap_or(set.wanted);
        if size <= 0 {
            continue;
        }
        let candidates = if only_unavailable { (size - set.available).max(0) } else { size };
        let mut less = candidates.min(may_go);
        if set.available > 0 {
            let deleted = (set.have - (size - less).max(0)).max(0);
            if deleted > 0 {
                let room = (available - least).max(0);
                let mut deleted = deleted;
                if room < deleted {
                    let smallest = (set.have - room).min(size);
                    less = (size - smallest).max(0);
                    deleted = (set.have - smallest).max(0);
                }
                available -= set.available.min(deleted);
            }
        }
        if less > 0 {
            sizes.insert(set.name.clone(), (size - less).max(0));
            may_go = (may_go - less).max(0);
        }
    }
    (may_go, available)
}

/// If unavailable machines of old sets block all progress, removes one of them.
fn unblock(new: &SetView, old: &[SetView], sizes: &mut Sizes) {
    let have: i32 = old.iter().map(|set| set.have).sum();
    let available: i32 = old.iter().map(|set| set.available).sum();
    let moves = old.iter().chain([new]).any(|set| set.wanted != set.have) || !sizes.is_empty();
    if have == 0 || have == available || moves || new.available != new.have {
        return;
    }
    let stuck = old.iter().find(|set| set.available != set.have && set.wanted > 0);
    if let Some(set) = stuck {
        sizes.insert(set.name.clone(), set.wanted - 1);
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
