//! Validation of the number of control planes.

use crate::error::CommandError;

/// Rejects even numbers of control planes: they tolerate no more failures of etcd members than the
/// next lower odd number.
///
/// # Errors
///
/// Returns a usage error that suggests the neighbouring odd numbers.
pub fn control_planes(wanted: u32) -> Result<(), CommandError> {
    if wanted % 2 == 1 {
        return Ok(());
    }
    let near = match wanted.checked_sub(1) {
        None => "1".to_owned(),
        Some(below) => format!("{below} or {}", wanted + 1),
    };
    Err(CommandError::usage(format!(
        "{wanted} control planes are requested, but the number must be odd: each runs an etcd member, and etcd needs a majority"
    ))
    .hint(format!("use {near} for `--control-planes`; any number of workers is possible")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn even_counts_are_a_usage_error_that_suggests_odd_ones() {
        for odd in [1, 3, 5, 7] {
            assert!(control_planes(odd).is_ok(), "{odd}");
        }
        for (even, near) in [(0, "use 1 for"), (2, "use 1 or 3 for"), (4, "use 3 or 5 for")] {
            let error = control_planes(even).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            let text = error.render(|_, text| text.to_owned());
            assert!(text.contains(near), "{text}");
        }
    }
}
