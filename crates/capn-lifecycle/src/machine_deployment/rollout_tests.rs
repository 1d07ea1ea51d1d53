//! Table-driven tests of the rollout arithmetic, and simulations of whole rollouts.

use super::*;

fn set(name: &str, created: i64, wanted: i32, have: i32, available: i32) -> SetView {
    SetView { name: name.to_owned(), created, wanted, have, available, staying: have }
}

fn goal(replicas: i32, surge: i32, unavailable: i32) -> Goal {
    Goal { replicas, bounds: Bounds { surge, unavailable } }
}

fn sizes(list: &[(&str, i32)]) -> Sizes {
    list.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

#[test]
fn numbers_and_percentages_are_scaled() {
    for (value, total, up, expected) in [
        (IntOrString::Int(3), 10, true, Some(3)),
        (IntOrString::String("25%".into()), 10, true, Some(3)),
        (IntOrString::String("25%".into()), 10, false, Some(2)),
        (IntOrString::String("0%".into()), 10, true, Some(0)),
        (IntOrString::String("3".into()), 10, true, None),
        (IntOrString::String("x%".into()), 10, true, None),
        (IntOrString::String(format!("{}%", i64::MAX)), 1, true, None),
    ] {
        assert_eq!(scaled(&value, total, up), expected, "{value:?}");
    }
}

#[test]
fn bounds_that_would_block_everything_allow_one_missing_machine() {
    let zero = IntOrString::Int(0);
    let tenth = IntOrString::String("10%".into());
    for (surge, unavailable, expected) in [
        (None, None, Bounds { surge: 1, unavailable: 0 }),
        (Some(&zero), Some(&zero), Bounds { surge: 0, unavailable: 1 }),
        (Some(&zero), Some(&tenth), Bounds { surge: 0, unavailable: 1 }),
        (Some(&tenth), None, Bounds { surge: 1, unavailable: 0 }),
    ] {
        assert_eq!(bounds(3, surge, unavailable), expected);
    }
}

#[test]
fn a_step_of_a_rolling_update() {
    for (what, goal, new, old, expected) in [
        (
            "a new deployment gets all at once",
            goal(3, 1, 0),
            set("n", 9, 0, 0, 0),
            vec![],
            sizes(&[("n", 3)]),
        ),
        (
            "one more than the replicas at first",
            goal(3, 1, 0),
            set("n", 9, 0, 0, 0),
            vec![set("o", 1, 3, 3, 3)],
            sizes(&[("n", 1)]),
        ),
        (
            "wait for the new machine",
            goal(3, 1, 0),
            set("n", 9, 1, 1, 0),
            vec![set("o", 1, 3, 3, 3)],
            sizes(&[]),
        ),
        (
            "then give up an old one",
            goal(3, 1, 0),
            set("n", 9, 1, 1, 1),
            vec![set("o", 1, 3, 3, 3)],
            sizes(&[("o", 2)]),
        ),
        (
            "no surge while it is on its way",
            goal(3, 1, 0),
            set("n", 9, 1, 1, 1),
            vec![set("o", 1, 2, 3, 3)],
            sizes(&[]),
        ),
        (
            "the next one",
            goal(3, 1, 0),
            set("n", 9, 1, 1, 1),
            vec![set("o", 1, 2, 2, 2)],
            sizes(&[("n", 2)]),
        ),
        (
            "the last one",
            goal(3, 1, 0),
            set("n", 9, 3, 3, 3),
            vec![set("o", 1, 1, 1, 1)],
            sizes(&[("o", 0)]),
        ),
        (
            "one may be missing instead",
            goal(3, 0, 1),
            set("n", 9, 0, 0, 0),
            vec![set("o", 1, 3, 3, 3)],
            sizes(&[("o", 2)]),
        ),
        (
            "the oldest set first",
            goal(2, 0, 1),
            set("n", 9, 0, 0, 0),
            vec![set("b", 2, 1, 1, 1), set("a", 1, 1, 1, 1)],
            sizes(&[("a", 0)]),
        ),
        (
            "broken machines of any old set before working ones",
            goal(4, 0, 1),
            set("n", 9, 1, 1, 1),
            vec![set("a", 1, 2, 2, 2), set("b", 2, 1, 1, 0)],
            sizes(&[("b", 0)]),
        ),
        ("too many new machines", goal(1, 1, 0), set("n", 9, 3, 3, 3), vec![], sizes(&[("n", 1)])),
        (
            "nothing to do",
            goal(2, 1, 0),
            set("n", 9, 2, 2, 2),
            vec![set("o", 1, 0, 0, 0)],
            sizes(&[]),
        ),
        (
            "a broken old machine does not block for ever",
            goal(3, 1, 0),
            set("n", 9, 1, 1, 1),
            vec![set("o", 1, 3, 3, 2)],
            sizes(&[("o", 2)]),
        ),
        (
            "new machines that do not work stop the rollout",
            goal(3, 1, 1),
            set("n", 9, 2, 2, 0),
            vec![set("o", 1, 2, 2, 2)],
            sizes(&[]),
        ),
    ] {
        assert_eq!(rolling(goal, &new, &old), expected, "{what}");
    }
}

/// Simulates a rollout: in every step the sets reach their sizes and new machines become available.
fn play(goal: Goal, mut new: SetView, mut old: Vec<SetView>) -> (usize, i32, i32) {
    let (mut steps, mut most, mut least) = (0, 0, i32::MAX);
    loop {
        let next = rolling(goal, &new, &old);
        if next.is_empty() {
            return (steps, most, least);
        }
        steps += 1;
        assert!(steps < 100, "the rollout does not end");
        for set in old.iter_mut().chain([&mut new]) {
            if let Some(size) = next.get(&set.name) {
                set.wanted = *size;
            }
        }
        // Machines are created and deleted first, and become available afterwards.
        for set in old.iter_mut().chain([&mut new]) {
            set.have = set.wanted;
            set.available = set.available.min(set.have);
        }
        most = most.max(old.iter().chain([&new]).map(|set| set.have).sum());
        least = least.min(old.iter().chain([&new]).map(|set| set.available).sum());
        new.available = new.have;
    }
}

#[test]
fn a_rollout_ends_and_keeps_within_its_bounds() {
    for replicas in 1..=6 {
        for surge in 0..=3 {
            for unavailable in 0..=3 {
                if surge == 0 && unavailable == 0 {
                    continue;
                }
                let bounds = bounds(
                    replicas,
                    Some(&IntOrString::Int(surge)),
                    Some(&IntOrString::Int(unavailable)),
                );
                let old = vec![set("o", 1, replicas, replicas, replicas)];
                let goal = Goal { replicas, bounds };
                let (steps, most, least) = play(goal, set("n", 9, 0, 0, 0), old);
                let which =
                    format!("{replicas} replicas, surge {surge}, unavailable {unavailable}");
                assert!(steps > 0, "{which}");
                assert!(most <= replicas + surge, "{which}: {most} machines");
                assert!(least >= replicas - bounds.unavailable, "{which}: {least} available");
            }
        }
    }
}

#[test]
fn on_delete_replaces_only_what_a_user_deleted() {
    let mut touched = set("o", 1, 3, 3, 3);
    touched.staying = 2;
    for (what, goal, new, old, expected) in [
        (
            "nothing was deleted",
            goal(3, 0, 0),
            set("n", 9, 0, 0, 0),
            set("o", 1, 3, 3, 3),
            sizes(&[]),
        ),
        ("one is on its way", goal(3, 0, 0), set("n", 9, 0, 0, 0), touched, sizes(&[("o", 2)])),
        (
            "one is gone",
            goal(3, 0, 0),
            set("n", 9, 0, 0, 0),
            set("o", 1, 2, 2, 2),
            sizes(&[("n", 1)]),
        ),
        (
            "fewer are wanted",
            goal(1, 0, 0),
            set("n", 9, 1, 1, 1),
            set("o", 1, 2, 2, 2),
            sizes(&[("o", 0)]),
        ),
    ] {
        assert_eq!(on_delete(goal, &new, &[old]), expected, "{what}");
    }
}

#[test]
fn without_a_rollout_sets_are_scaled_together() {
    for (what, goal, sets, expected) in [
        (
            "one set takes it all",
            goal(5, 1, 0),
            vec![set("a", 1, 3, 3, 3), set("b", 2, 0, 0, 0)],
            sizes(&[("a", 5)]),
        ),
        (
            "the newest takes it where none has machines",
            goal(2, 1, 0),
            vec![set("a", 1, 0, 0, 0), set("b", 2, 0, 0, 0)],
            sizes(&[("b", 2)]),
        ),
        (
            "down in proportion",
            goal(2, 0, 1),
            vec![set("a", 1, 4, 4, 4), set("b", 2, 2, 2, 2)],
            sizes(&[("a", 2), ("b", 0)]),
        ),
        (
            "up in proportion",
            goal(8, 1, 0),
            vec![set("a", 1, 2, 2, 2), set("b", 2, 2, 2, 2)],
            sizes(&[("a", 4), ("b", 4)]),
        ),
        (
            "nothing to do",
            goal(4, 1, 0),
            vec![set("a", 1, 2, 2, 2), set("b", 2, 2, 2, 2)],
            sizes(&[]),
        ),
    ] {
        assert_eq!(proportional(goal, &sets), expected, "{what}");
    }
}
