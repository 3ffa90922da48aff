//! Which trace asked for a run, so that the run becomes a part of it. Only in memory: a run
//! that begins after a restart begins a trace of its own.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chassis::traces::TraceParent;
use schemas::{Command, DesiredState};

/// How many are remembered; the oldest are forgotten.
const CAPACITY: usize = 4_096;

/// A run of a stream that begins within this time after a command was made by it, where
/// the command asks for none by name: it starts the connection, or changes it.
const MADE_BY_COMMAND: Duration = Duration::from_mins(1);

/// The traces of commands that no run has taken up.
#[derive(Debug, Default)]
pub(crate) struct CommandTraces(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    at: Instant,
    trace: TraceParent,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// The run of a request.
    Request(String),
    /// The next run of a stream of a connection.
    Stream(String, String),
}

impl CommandTraces {
    /// Remembers the trace of a command.
    pub(super) fn note(&self, command: &Command, trace: &TraceParent) {
        let of_stream = |it: &String| Wanted::Stream(command.connection.clone(), it.clone());
        let all: Vec<_> = if !command.requests.is_empty() {
            let requests = command.requests.iter();
            requests
                .map(|it| Wanted::Request(it.request_id.clone()))
                .collect()
        } else if command.state == DesiredState::Running {
            command.streams.iter().map(of_stream).collect()
        } else {
            Vec::new()
        };
        let at = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for wanted in all {
            let known = entries.iter().position(|it| it.wanted == wanted);
            match (known, &wanted) {
                // A later command repeats the requests that are not carried out yet.
                (Some(_), Wanted::Request(_)) => continue,
                (Some(known), Wanted::Stream(..)) => drop(entries.remove(known)),
                (None, _) => {}
            }
            let trace = trace.clone();
            entries.push_back(Entry { wanted, at, trace });
        }
        let surplus = entries.len().saturating_sub(CAPACITY);
        entries.drain(..surplus);
    }

    /// The trace of the command that asked for this run, which takes it up.
    pub(super) fn take(
        &self,
        connection: &str,
        stream: &str,
        request_id: Option<&str>,
    ) -> Option<TraceParent> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = entries.iter().position(|it| match &it.wanted {
            Wanted::Request(id) => Some(id.as_str()) == request_id,
            Wanted::Stream(of, name) => {
                request_id.is_none()
                    && of == connection
                    && name == stream
                    && it.at.elapsed() < MADE_BY_COMMAND
            }
        })?;
        entries.remove(at).map(|it| it.trace)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Request, RequestKind};

    use super::*;

    fn trace(number: u32) -> TraceParent {
        let header = format!("00-{number:032x}-b7ad6b7169203331-01");
        TraceParent::parse(header.as_bytes()).unwrap()
    }

    fn command(streams: &[&str], requests: &[&str]) -> Command {
        let request = |id: &&str| Request {
            stream: "contacts".to_owned(),
            request_id: (*id).to_owned(),
            kind: RequestKind::Sync,
            requested_at: 0,
        };
        Command {
            connection: "a".to_owned(),
            state: DesiredState::Running,
            streams: streams.iter().map(|it| (*it).to_owned()).collect(),
            requests: requests.iter().map(request).collect(),
            ..Command::default()
        }
    }

    #[test]
    fn the_first_run_after_a_command_and_each_run_that_it_names_are_of_its_trace() {
        let traces = CommandTraces::default();
        traces.note(&command(&["contacts", "companies"], &[]), &trace(1));
        traces.note(&command(&["contacts"], &[]), &trace(2));
        traces.note(&command(&["contacts"], &["r1"]), &trace(1));
        traces.note(&command(&["contacts"], &["r1", "r2"]), &trace(2));
        for (stream, request, expected) in [
            ("contacts", Some("r2"), Some(2)),
            ("contacts", Some("r1"), Some(1)),
            ("contacts", Some("r1"), None),
            ("contacts", None, Some(2)),
            ("contacts", None, None),
            ("companies", None, Some(1)),
        ] {
            let found = traces.take("a", stream, request);
            assert_eq!(found, expected.map(trace), "{stream} {request:?}");
        }
        assert_eq!(traces.take("b", "companies", None), None);
    }

    #[test]
    fn a_stopped_connection_makes_no_run_and_few_traces_are_remembered() {
        let traces = CommandTraces::default();
        let stopped = Command {
            state: DesiredState::Stopped,
            ..command(&["contacts"], &[])
        };
        traces.note(&stopped, &trace(1));
        assert_eq!(traces.take("a", "contacts", None), None);
        for number in 0..5_000_u32 {
            let id = number.to_string();
            traces.note(&command(&[], &[&id]), &trace(number + 1));
        }
        assert_eq!(traces.0.lock().unwrap().len(), CAPACITY);
        assert_eq!(traces.take("a", "contacts", Some("0")), None);
        assert!(traces.take("a", "contacts", Some("4999")).is_some());
    }
}
