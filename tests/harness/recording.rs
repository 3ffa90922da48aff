//! Metrics of a stack's services over time, and the alerts that fire over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    iter::repeat_n,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{Stack, api, exposition, native::stack_command};

/// A second of a recording is a minute for the alerts, so that a test need not last hours.
const SCALE: f64 = 60.0;

/// When the series end, in seconds since 1970: `end` of the checks that evaluate them.
const END: f64 = 1_767_312_000.0;

/// How long a service may take to answer; one that does not is away.
const ANSWER_LIMIT: Duration = Duration::from_millis(800);

/// Metrics of a stack's services, once a second.
#[derive(Debug, Default)]
pub struct Recording {
    /// By name and labels, a value for each second; `None` where it was not there.
    series: BTreeMap<String, Vec<Option<f64>>>,
    seconds: usize,
    /// When the last values were read, in seconds since 1970.
    read_at: f64,
}

impl Recording {
    /// Records for some seconds. At the beginning of each, `each` is run with its number.
    pub async fn take(&mut self, stack: &Stack, seconds: usize, mut each: impl AsyncFnMut(usize)) {
        let workers = stack.worker_ports.iter().map(|port| ("worker", *port));
        let instances = stack.instances.iter().map(|it| ("data-streams", it.port));
        let services: Vec<_> = workers.chain(instances).collect();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for second in 0..seconds {
            ticks.tick().await;
            each(second).await;
            for (service, port) in &services {
                self.read(service, *port).await;
            }
            self.seconds += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            self.read_at = now.unwrap_or_default().as_secs_f64();
            for values in self.series.values_mut() {
                values.resize(self.seconds, None);
            }
        }
    }

    async fn read(&mut self, service: &str, port: u16) {
        // As Prometheus adds them; the services say themselves which they are.
        let labels = format!("job=\"hubspot-streams\",instance=\"{port}\"");
        let url = format!("http://127.0.0.1:{port}/metrics");
        let answer = api::client().get(url).timeout(ANSWER_LIMIT).send().await;
        let text = match answer {
            Ok(answer) => answer.text().await.ok(),
            Err(_) => None,
        };
        let up = if text.is_some() { 1.0 } else { 0.0 };
        self.add(format!("up{{service=\"{service}\",{labels}}}"), up);
        for (name, own, value) in exposition::samples(&text.unwrap_or_default()) {
            let own = own.trim_start_matches('{').trim_end_matches('}');
            let separator = if own.is_empty() { "" } else { "," };
            if value.is_finite() {
                self.add(format!("{name}{{{labels}{separator}{own}}}"), value);
            }
        }
    }

    fn add(&mut self, series: String, value: f64) {
        let values = self.series.entry(series).or_default();
        values.resize(self.seconds, None);
        values.push(Some(value));
    }

    /// The alerts that fire if all stays as it was in the last second, for some minutes.
    pub async fn alerts(&self, stack: &Stack, minutes: u32) -> BTreeSet<String> {
        let mut text = String::new();
        for (series, values) in &self.series {
            text.push_str(series);
            // Whoever was away in the last second stays away.
            let last = values.last().copied().flatten();
            for value in values
                .iter()
                .copied()
                .chain(repeat_n(last, minutes as usize))
            {
                match value {
                    Some(value) => write!(text, " {}", self.scaled(series, value, minutes)),
                    None => write!(text, " _"),
                }
                .expect("a string takes all");
            }
            text.push('\n');
        }
        let file = stack.folder().join("metrics.txt");
        std::fs::write(&file, text).expect("the folder is there");
        let arguments = [
            "checks",
            "-test.run",
            "^TestAlertsOverARecording$",
            "-test.v",
        ];
        let variables = [("RECORDING", file.display().to_string())];
        let printed = stack_command(&arguments, &variables).await;
        let fires = printed
            .lines()
            .filter_map(|it| it.trim().strip_prefix("fires: "));
        fires.map(str::to_owned).collect()
    }

    /// A value in the time of the alerts: points in time and intervals grow with it.
    fn scaled(&self, series: &str, value: f64, minutes: u32) -> f64 {
        let name = series.split('{').next().unwrap_or_default();
        if name.ends_with("_timestamp_seconds") {
            END - f64::from(minutes) * 60.0 + (value - self.read_at) * SCALE
        } else if name.ends_with("_interval_seconds") {
            value * SCALE
        } else {
            value
        }
    }
}
