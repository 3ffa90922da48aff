//! How long the requests of each connection have waited for HubSpot's limits, measured
//! whenever the metrics are read: a connection that has ended is not shown any more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chassis::health::{Measured, Measures};

use super::limits::Bucket;

const WAITED: Measured = Measured::counter(
    "worker_connection_limit_wait_seconds_total",
    "Seconds that requests waited for HubSpot's limits, since the connection came to this worker.",
);

/// The waits for one credential's limits, in µs by [`Bucket`].
#[derive(Debug, Default)]
pub(crate) struct Waits([AtomicU64; Bucket::ALL.len()]);

impl Waits {
    pub(super) fn add(&self, bucket: Bucket, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        if let Some(sum) = self.0.get(bucket as usize) {
            sum.fetch_add(micros, Ordering::Relaxed);
        }
    }
}

/// The waits of all connections.
#[derive(Debug, Default)]
pub(crate) struct ConnectionWaits(Mutex<Vec<(String, Weak<Waits>)>>);

impl ConnectionWaits {
    /// These are of that connection from now on, until they are dropped.
    pub(crate) fn add(&self, connection: &str, waits: &Arc<Waits>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, it)| it.strong_count() > 0);
        all.push((connection.to_owned(), Arc::downgrade(waits)));
    }

    /// Adds the measures.
    pub(crate) fn measure(&self, out: &mut Measures) {
        // A connection that is being checked may have two.
        let mut sums: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (connection, waits) in all.iter() {
            let Some(waits) = waits.upgrade() else {
                continue;
            };
            for (bucket, sum) in Bucket::ALL.into_iter().zip(&waits.0) {
                let key = (connection.clone(), bucket.label());
                *sums.entry(key).or_default() += sum.load(Ordering::Relaxed);
            }
        }
        drop(all);
        for ((connection, bucket), micros) in sums {
            let labels = [("connection", connection.as_str()), ("bucket", bucket)];
            let seconds = Duration::from_micros(micros).as_secs_f64();
            out.add(WAITED, &labels, seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_summed_by_connection_until_it_ends() {
        let all = ConnectionWaits::default();
        let text = || {
            let mut measures = Measures::new("worker");
            all.measure(&mut measures);
            measures.text()
        };
        let (first, second) = (Arc::new(Waits::default()), Arc::new(Waits::default()));
        all.add("a", &first);
        all.add("a", &second);
        first.add(Bucket::Lists, Duration::from_millis(1_500));
        second.add(Bucket::Lists, Duration::from_millis(500));
        let line = |seconds: &str| {
            format!(
                "{WAITED}{{service=\"worker\",connection=\"a\",bucket=\"{}\"}} {seconds}\n",
                Bucket::Lists.label()
            )
        };
        assert!(text().contains(&line("2")), "{}", text());
        assert!(text().contains(&format!("# TYPE {WAITED} counter\n")));
        drop(second);
        assert!(text().contains(&line("1.5")), "{}", text());
        drop(first);
        assert_eq!(text(), "");
    }
}
