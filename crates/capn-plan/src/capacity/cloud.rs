//! Sizes by name: `cX-mY`, and Amazon's current general-purpose instance types as servers know them
//! (Incus documentation, "Instance types"; Amazon's published sizes).

/// CPUs and memory, as far as the name states them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) cpus: Option<f64>,
    pub(super) memory_gib: Option<f64>,
}

/// Returns the size that a name stands for.
pub(super) fn size(name: &str) -> Option<Size> {
    if let Some(name) = name.strip_prefix("aws:") {
        return amazon(name);
    }
    amazon(name).or_else(|| counted(name))
}

/// Parses `c2-m4`: CPUs and GiB of memory. One of them may be omitted.
fn counted(name: &str) -> Option<Size> {
    let mut size = Size { cpus: None, memory_gib: None };
    for part in name.split('-') {
        let positive = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
        if let Some(count) = part.strip_prefix('c') {
            size.cpus = Some(positive(count)?);
        } else {
            size.memory_gib = Some(positive(part.strip_prefix('m')?)?);
        }
    }
    Some(size)
}

fn amazon(name: &str) -> Option<Size> {
    let (family, size) = name.split_once('.')?;
    let (cpus, memory) = match family {
        "t2" => match size {
            "nano" => (1.0, 0.5),
            "micro" => (1.0, 1.0),
            "small" => (1.0, 2.0),
            other => burstable(other)?,
        },
        "t3" | "t3a" | "t4g" => burstable(size)?,
        _ => {
            let per_core = match family.chars().next()? {
                'c' => 2.0,
                'm' => 4.0,
                'r' => 8.0,
                _ => return None,
            };
            // Earlier generations have irregular sizes.
            let generation = family.get(1..2)?.parse::<u8>().ok()?;
            if generation < 5 && family != "m4" {
                return None;
            }
            let cores = cores(size)?;
            (cores, cores * per_core)
        }
    };
    Some(Size { cpus: Some(cpus), memory_gib: Some(memory) })
}

fn burstable(size: &str) -> Option<(f64, f64)> {
    Some(match size {
        "nano" => (2.0, 0.5),
        "micro" => (2.0, 1.0),
        "small" => (2.0, 2.0),
        "medium" => (2.0, 4.0),
        "large" => (2.0, 8.0),
        "xlarge" => (4.0, 16.0),
        "2xlarge" => (8.0, 32.0),
        _ => return None,
    })
}

/// Returns the number of CPUs of `large`, `xlarge`, `2xlarge` and so on.
fn cores(size: &str) -> Option<f64> {
    match size {
        "large" => Some(2.0),
        "xlarge" => Some(4.0),
        _ => size.strip_suffix("xlarge")?.parse::<u8>().ok().map(|n| f64::from(n) * 4.0),
    }
}
