//! Machine sizes.

use capn_plan::capacity;

use crate::error::CommandError;

/// Validates the format of a flavor. Names of cloud instance types are known to the server, so any
/// name of that form is accepted.
///
/// # Errors
///
/// Returns a usage error that shows the format.
pub fn flavor(flavor: Option<&str>) -> Result<(), CommandError> {
    let Some(flavor) = flavor.filter(|flavor| !capacity::may_be_flavor(flavor)) else {
        return Ok(());
    };
    Err(CommandError::usage(format!("`{flavor}` is not a valid flavor"))
        .hint("use CPUs and GiB of memory, such as `c2-m4`, or a cloud instance type, such as `t3.medium`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn an_unknown_flavor_is_a_usage_error() {
        for fine in [None, Some("c2-m4"), Some("t3.micro"), Some("aws:x1.16xlarge")] {
            assert!(flavor(fine).is_ok(), "{fine:?}");
        }
        for wrong in ["huge", "c2m4", "2c", ""] {
            assert_eq!(flavor(Some(wrong)).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }
}
