//! The text that a service answers at `/metrics`.

use std::collections::BTreeSet;

/// Names of the metrics that have no help.
pub fn undescribed(text: &str) -> Vec<&str> {
    let names = |keyword: &'static str| {
        let lines = text.lines().filter_map(move |it| it.strip_prefix(keyword));
        lines.filter_map(|it| it.split(' ').next())
    };
    let described: BTreeSet<_> = names("# HELP ").collect();
    names("# TYPE ")
        .filter(|it| !described.contains(it))
        .collect()
}

/// Name, labels with their braces if there are any, and value of each sample.
pub fn samples(text: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
        Some((name, labels, value.parse().ok()?))
    })
}
