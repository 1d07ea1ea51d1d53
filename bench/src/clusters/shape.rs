//! Number of control planes and workers of a benchmark cluster, and its time limit.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

/// Written as `CONTROL-PLANES+WORKERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) control_planes: u32,
    pub(super) workers: u32,
}

impl Shape {
    /// Target in seconds on two idle cores, if there is one.
    pub(super) fn limit(self) -> Option<f64> {
        match (self.control_planes, self.workers) {
            (1, 0) => Some(15.0),
            (1, 2) => Some(22.0),
            (3, 2) => Some(45.0),
            _ => None,
        }
    }

    /// Number of nodes.
    pub(super) fn nodes(self) -> usize {
        (self.control_planes + self.workers) as usize
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.control_planes, self.workers)
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wanted =
            "expected CONTROL-PLANES+WORKERS such as 1+2, with an odd number of control planes";
        let (control_planes, workers) = text.split_once('+').context(wanted)?;
        let number = |text: &str| text.parse::<u8>().map(u32::from).context(wanted);
        let shape = Self { control_planes: number(control_planes)?, workers: number(workers)? };
        anyhow::ensure!(shape.control_planes % 2 == 1, wanted);
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn shapes_are_two_numbers() {
        for (text, control_planes, workers) in [("1+0", 1, 0), ("3+2", 3, 2), ("1+10", 1, 10)] {
            let shape: Shape = text.parse().unwrap();
            assert_eq!(shape, Shape { control_planes, workers });
            assert_eq!(shape.to_string(), text);
        }
        for text in ["", "1", "+1", "1+", "0+1", "2+1", "1+-1", "1+1+1", "1 + 1", "1+300"] {
            assert!(text.parse::<Shape>().is_err(), "{text:?}");
        }
    }
}
