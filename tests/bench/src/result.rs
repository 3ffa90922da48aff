//! The readings of a benchmark, with their goals.

/// The goal of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// None: the reading is shown for comparison.
    None,
    /// At least this value.
    AtLeast(f64),
    /// At most this value.
    AtMost(f64),
    /// At least this multiple of the baseline of the same run.
    RatioAtLeast(f64),
    /// At most this multiple of the baseline of the same run.
    RatioAtMost(f64),
}

/// One measured number of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Its name, the same in each run.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: f64,
    /// The unit of the value.
    pub(crate) unit: &'static str,
    /// Its goal.
    pub(crate) goal: Goal,
    /// The value that it is compared with, measured in the same run.
    pub(crate) baseline: Option<f64>,
}

impl Reading {
    /// A reading without goal or baseline.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            goal: Goal::None,
            baseline: None,
        }
    }

    /// Sets the goal.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal, ..self }
    }

    /// Sets the baseline.
    pub(crate) fn against(self, baseline: f64) -> Self {
        Self {
            baseline: Some(baseline),
            ..self
        }
    }
}

/// The median of `values`; 0 if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile `share` (0 to 1) of `values`; 0 if there are none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index in a short list"
    )]
    let index = (share * last as f64).round() as usize;
    sorted.get(index.min(last)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_depend_on_the_order() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    #[test]
    fn the_highest_quantile_is_the_largest() {
        assert!((quantile(&[3.0, 9.0, 2.0], 1.0) - 9.0).abs() < f64::EPSILON);
    }
}
