//! The table of results, and messages of progress.

use std::io::Write as _;

use crate::result::{Goal, Reading, median};

/// Prints a message to standard error; standard output has the table only.
pub(crate) fn progress(text: &str) {
    // Fails if the pipe is closed.
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// All readings, by benchmark and name, in the order in which they came first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    benchmark: &'static str,
    readings: Vec<Reading>,
}

impl Table {
    /// Adds the readings of one run.
    pub(crate) fn add(&mut self, benchmark: &'static str, readings: Vec<Reading>) {
        for reading in readings {
            let known = self.rows.iter_mut().find(|row| {
                row.benchmark == benchmark
                    && row
                        .readings
                        .first()
                        .is_some_and(|it| it.name == reading.name)
            });
            match known {
                Some(row) => row.readings.push(reading),
                None => self.rows.push(Row {
                    benchmark,
                    readings: vec![reading],
                }),
            }
        }
    }

    /// Prints the table as Markdown.
    pub(crate) fn print(&self) {
        let head = [
            "benchmark",
            "goal",
            "median",
            "spread",
            "× baseline",
            "reached",
        ];
        let mut lines: Vec<[String; 6]> = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().filter_map(Row::cells));
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            let cells = line
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(&row(cells));
            if number == 0 {
                let rule = widths.map(|width| "-".repeat(width));
                text.push_str(&row(rule));
            }
        }
        // Fails if the pipe is closed.
        let _closed = std::io::stdout().write_all(text.as_bytes());
    }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    format!("| {} |\n", cells.join(" | "))
}

impl Row {
    fn cells(&self) -> Option<[String; 6]> {
        let first = self.readings.first()?;
        let values: Vec<f64> = self.readings.iter().map(|it| it.value).collect();
        let ratios: Vec<f64> = self
            .readings
            .iter()
            .filter_map(|it| Some(it.value / it.baseline?))
            .collect();
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), it| {
            (low.min(*it), high.max(*it))
        });
        let spread = if values.len() > 1 {
            format!("{} to {}", number(low), number(high))
        } else {
            String::new()
        };
        let ratio = if ratios.is_empty() {
            String::new()
        } else {
            format!("{:.2}", median(&ratios))
        };
        Some([
            format!("{}: {}", self.benchmark, first.name),
            goal(first.goal, first.unit),
            format!("{} {}", number(median(&values)), first.unit),
            spread,
            ratio,
            reached(first.goal, median(&values), median(&ratios)).to_owned(),
        ])
    }
}

fn goal(goal: Goal, unit: &str) -> String {
    match goal {
        Goal::None => String::new(),
        Goal::AtLeast(value) => format!("≥ {} {unit}", number(value)),
        Goal::AtMost(value) => format!("≤ {} {unit}", number(value)),
        Goal::RatioAtLeast(value) => format!("≥ {value} × baseline"),
        Goal::RatioAtMost(value) => format!("≤ {value} × baseline"),
    }
}

fn reached(goal: Goal, value: f64, ratio: f64) -> &'static str {
    let yes = match goal {
        Goal::None => return "",
        Goal::AtLeast(goal) => value >= goal,
        Goal::AtMost(goal) => value <= goal,
        Goal::RatioAtLeast(goal) => ratio >= goal,
        Goal::RatioAtMost(goal) => ratio <= goal,
    };
    if yes { "yes" } else { "no" }
}

/// Numbers from 100 on as integers with separators, others with two decimals.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_or_two_decimals() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(-1_234.0), "-1,234");
        assert_eq!(number(999.6), "1,000");
        assert_eq!(number(0.456), "0.46");
        assert_eq!(number(2.0), "2");
    }

    #[test]
    fn a_goal_by_ratio_is_compared_with_the_ratio() {
        assert_eq!(reached(Goal::RatioAtMost(1.5), 2.0, 1.4), "yes");
        assert_eq!(reached(Goal::AtMost(1.5), 1.6, 1.0), "no");
    }
}
