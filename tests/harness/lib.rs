//! The system as a whole, started by a test: the real Kafka, registry and
//! ClickHouse, our two services as processes, and a simulated HubSpot.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod api;
pub mod check;
mod clickhouse;
mod collector;
mod data_set;
pub mod documentation;
pub mod exposition;
pub mod history;
pub mod http;
mod https;
mod links;
pub mod log;
mod native;
pub mod process;
mod proxy;
mod recording;
pub mod replica;
mod secrets;
pub mod servers;
pub mod stack;
mod timeline;
pub mod tls;
pub mod truth;
pub mod wrong_clock;

use std::{
    fmt::Display,
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

pub use api::Api;
pub use clickhouse::ClickHouse;
pub use collector::{CollectedSpan, Collector};
pub use data_set::{DataSet, Recorded};
pub use https::HttpsFront;
pub use links::Links;
pub use log::RecordLog;
pub use native::stack_command;
pub use process::Process;
pub use proxy::{LostAnswer, Mode, Proxy, Request};
pub use recording::Recording;
pub use stack::{Stack, StackBuilder};
pub use timeline::Timeline;

/// A text of so many letters and signs of which compression saves little, the same each
/// time.
pub fn incompressible(length: usize) -> String {
    let mut state = 1_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + state.to_be_bytes()[0] % 64)
    };
    (0..length).map(letter).collect()
}

/// When a wait is given up. It only keeps a test from hanging, so it is long
/// enough for a machine that is busy with something else; what the product
/// promises has limits of its own.
pub const HANG_LIMIT: Duration = Duration::from_mins(5);

/// Pauses between two probes: a tenth of the time since the first one, within these limits.
/// Many tests that ask 20 times a second take the CPU from those that they wait for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Repeats `probe` until it answers `Some`: for a state that another process reaches
/// without announcing it.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let began = Instant::now();
    let asked = async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            let pause = (began.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    };
    tokio::time::timeout(limit, asked)
        .await
        .unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

/// What a wait saw last. It is printed if the wait fails, as it explains that.
#[derive(Debug, Default)]
pub(crate) struct LastSeen<T: Display>(Mutex<T>);

impl<T: Display> LastSeen<T> {
    pub(crate) fn set(&self, seen: T) {
        *self.0.lock().unwrap() = seen;
    }
}

impl<T: Display> Drop for LastSeen<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
            {
                eprintln!("seen last: {:#}", self.0.lock().unwrap());
            }
        }
    }
}
