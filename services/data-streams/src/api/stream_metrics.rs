//! What `/metrics` says of each connection and stream. Every instance knows all of them
//! from Kafka, so each shows the same.

use std::sync::Arc;

use chassis::health::{Measured, Measures};
use schemas::{DesiredState, Millis, StreamStatus};

use super::{Backend, connections::observed};
use crate::control::{ControlPlane, LiveConnection};

const INTERVAL: Measured = Measured::gauge(
    "data_streams_connection_interval_seconds",
    "Seconds from one run to the next, of connections that are to run.",
);
const STATE: Measured = Measured::gauge(
    "data_streams_connection_state",
    "1 for the state that the worker reports.",
);
const CONNECTION_ERROR: Measured = Measured::gauge(
    "data_streams_connection_error",
    "1 for the code of the error that keeps a connection from running.",
);
const LIMIT_USED: Measured = Measured::gauge(
    "data_streams_connection_limit_used_requests",
    "Requests that count against a limit of HubSpot: general, search or day.",
);
const LIMIT: Measured = Measured::gauge(
    "data_streams_connection_limit_requests",
    "Requests that a limit of HubSpot allows.",
);
const PHASE: Measured =
    Measured::gauge("data_streams_stream_phase", "1 for the phase of a stream.");
const STREAM_ERROR: Measured = Measured::gauge(
    "data_streams_stream_error",
    "1 for the code of the error for which a stream waits, was skipped or failed.",
);
const LAST_SUCCESS: Measured = Measured::gauge(
    "data_streams_stream_last_success_timestamp_seconds",
    "When the last run that succeeded ended, in seconds since 1970.",
);
const CURSOR: Measured = Measured::gauge(
    "data_streams_stream_cursor_timestamp_seconds",
    "Every change before this time is in Kafka, in seconds since 1970.",
);
const NEXT_RUN: Measured = Measured::gauge(
    "data_streams_stream_next_run_timestamp_seconds",
    "When the next run is due, in seconds since 1970.",
);
const RECORDS: Measured = Measured::gauge(
    "data_streams_stream_records",
    "Records written in all runs.",
);
const EXPECTED: Measured = Measured::gauge(
    "data_streams_stream_expected_records",
    "Records in HubSpot.",
);
const COMPARED: Measured = Measured::gauge(
    "data_streams_stream_compared_timestamp_seconds",
    "When HubSpot and ClickHouse were last compared, in seconds since 1970.",
);
const DIFFERENT: Measured = Measured::gauge(
    "data_streams_stream_different_records",
    "So many objects differed at least when they were last compared.",
);

/// Adds the measures of all connections; none until the control topics are read.
pub(super) fn measure(
    control: &ControlPlane,
    backend: &Arc<dyn Backend>,
    now: Millis,
    out: &mut Measures,
) {
    let measured = control.read(|connections| {
        for live in connections.live() {
            measure_connection(&live, backend, now, out);
        }
    });
    // The condition `commands` of the health says so.
    drop(measured);
}

fn measure_connection(
    live: &LiveConnection<'_>,
    backend: &Arc<dyn Backend>,
    now: Millis,
    out: &mut Measures,
) {
    let connection = ("connection", live.name);
    if live.desired.state == DesiredState::Running {
        out.add(INTERVAL, &[connection], seconds(live.desired.interval_ms));
    }
    if let Some(whole) = &live.connection.whole {
        let state = ("state", whole.status.state.as_str());
        out.add(STATE, &[connection, state], 1.0);
        if let Some(error) = &whole.status.error {
            out.add(CONNECTION_ERROR, &[connection, ("code", &error.code)], 1.0);
        }
    }
    for (name, used, limit) in observed::used(*live, now) {
        let labels = [connection, ("limit", name)];
        out.add(LIMIT_USED, &labels, number(used));
        out.add(LIMIT, &labels, number(limit));
    }
    for stream in &live.desired.streams {
        let labels = [connection, ("stream", stream.as_str())];
        if let Some(observed) = live.connection.streams.get(stream) {
            measure_stream(labels, &observed.status, out);
        }
        if let Some(compared) = backend.comparison(live.name, stream) {
            out.add(COMPARED, &labels, seconds(compared.compared_at));
            out.add(DIFFERENT, &labels, number(compared.still_different));
        }
    }
}

fn measure_stream(labels: [(&str, &str); 2], status: &StreamStatus, out: &mut Measures) {
    let [connection, stream] = labels;
    out.add(PHASE, &[connection, stream, ("phase", &status.phase)], 1.0);
    if let Some(error) = &status.error {
        out.add(
            STREAM_ERROR,
            &[connection, stream, ("code", &error.code)],
            1.0,
        );
    }
    out.add(RECORDS, &labels, number(status.total_records));
    if let Some(expected) = status.expected_total {
        out.add(EXPECTED, &labels, number(expected));
    }
    if let Some(at) = status.last_success_at {
        out.add(LAST_SUCCESS, &labels, seconds(at));
    }
    if let Some(at) = status.cursor {
        out.add(CURSOR, &labels, seconds(at));
    }
    if let Some(at) = status.next_run_at {
        out.add(NEXT_RUN, &labels, seconds(at));
    }
}

fn seconds(ms: Millis) -> f64 {
    number(ms) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn number(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use schemas::{Budget, Problem, Status, WindowUse};

    use super::*;
    use crate::{
        api::tests::numbered_records::NumberedRecords,
        control::{
            ConnectionChange, ConnectionSettings,
            tests::{acknowledge, in_memory},
        },
    };

    #[tokio::test]
    async fn streams_are_measured_until_their_connection_is_deleted() {
        let (control, log) = in_memory();
        let backend: Arc<dyn Backend> = Arc::new(NumberedRecords { away: false });
        let text = || {
            let mut measures = Measures::new("data-streams");
            measure(&control, &backend, 1_795_528_801_000, &mut measures);
            measures.text()
        };
        let start = ConnectionChange::Start(ConnectionSettings::default());
        let accepted = control.submit("default", start).await.unwrap();
        acknowledge(&log, "default", &accepted.command_id, "running");
        log.view.update(|state| {
            state.status(Status {
                connection: "default".to_owned(),
                stream: Some(StreamStatus {
                    name: "contacts".to_owned(),
                    phase: "waiting".to_owned(),
                    last_success_at: Some(1_795_528_800_123),
                    total_records: 7,
                    budget: Some(Budget {
                        at: 1_795_528_800_123,
                        general: Some(WindowUse {
                            limit: 190,
                            used: 150,
                            window_ms: 10_000,
                        }),
                        ..Budget::default()
                    }),
                    error: Some(Problem {
                        code: "daily_limit".to_owned(),
                        ..Problem::default()
                    }),
                    ..StreamStatus::default()
                }),
                ..Status::default()
            });
        });
        let labels = r#"service="data-streams",connection="default",stream="contacts""#;
        let of_limit = r#"service="data-streams",connection="default",limit="general""#;
        let measured = text();
        for line in [
            format!("{LAST_SUCCESS}{{{labels}}} 1795528800.123\n"),
            format!("{RECORDS}{{{labels}}} 7\n"),
            format!("{PHASE}{{{labels},phase=\"waiting\"}} 1\n"),
            format!("{STREAM_ERROR}{{{labels},code=\"daily_limit\"}} 1\n"),
            format!("{DIFFERENT}{{{labels}}} 1\n"),
            format!("{LIMIT_USED}{{{of_limit}}} 150\n"),
            format!("{LIMIT}{{{of_limit}}} 190\n"),
            format!("{INTERVAL}{{service=\"data-streams\",connection=\"default\"}} 300\n"),
        ] {
            assert!(measured.contains(&line), "{line} is not in {measured}");
        }
        control
            .submit("default", ConnectionChange::Delete)
            .await
            .unwrap();
        assert_eq!(text(), "");
    }
}
