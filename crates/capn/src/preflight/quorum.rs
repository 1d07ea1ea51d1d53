//! Numbers of control planes.

use crate::error::CommandError;

/// Checks that etcd on that many control planes keeps more than half of its members when one is
/// lost as often as it can: an even number tolerates no more losses than the odd one below.
///
/// # Errors
///
/// Wrong usage, with the odd numbers next to it.
pub fn control_planes(wanted: u32) -> Result<(), CommandError> {
    if wanted % 2 == 1 {
        return Ok(());
    }
    let near = match wanted.checked_sub(1) {
        None => "1".to_owned(),
        Some(below) => format!("{below} or {}", wanted + 1),
    };
    Err(CommandError::usage(format!(
        "{wanted} control planes are asked for, but their number has to be odd: each runs a member of etcd, and more than half of the members have to agree"
    ))
    .hint(format!("use `--control-planes` with {near}; workers can be as many as you like")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn even_numbers_are_wrong_usage_with_the_odd_ones_next_to_them() {
        for odd in [1, 3, 5, 7] {
            assert!(control_planes(odd).is_ok(), "{odd}");
        }
        for (even, near) in [(0, "with 1;"), (2, "with 1 or 3"), (4, "with 3 or 5")] {
            let error = control_planes(even).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            let text = error.render(|_, text| text.to_owned());
            assert!(text.contains(near), "{text}");
        }
    }
}
