//! Medians, and the line printed for each figure.

/// Median of `values`; for an even number, the mean of the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Prints [`line`].
pub(crate) fn print(what: &str, measured: f64, against: f64, unit: &str, target: f64) {
    println!("{}", line(what, measured, against, unit, target));
}

/// `what: measured unit, against unit, ratio (target)`.
pub(crate) fn line(what: &str, measured: f64, against: f64, unit: &str, target: f64) -> String {
    let ratio = measured / against;
    format!(
        "{what:<44} {measured:>7.1}{unit:<2} {against:>7.1}{unit:<2} {ratio:>7.2}   target <= {target:.2}"
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
