//! The text that a service answers at `/metrics`.

/// Name, labels with their braces if there are any, and value of each sample.
pub fn samples(text: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
        Some((name, labels, value.parse().ok()?))
    })
}
