//! What the cluster says of itself, and why it cannot be reached.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};

use super::{KafkaArgs, TIMEOUT, error::TopicsError};

/// How long the client is asked for its reports.
const REPORTS: Duration = Duration::from_millis(100);

/// A client that asks, and keeps what it reports meanwhile.
pub(super) struct Cluster {
    client: BaseConsumer<Reports>,
}

/// Why the last connection failed, where settings may be the reason.
#[derive(Default)]
struct Reports(Mutex<Option<(Cause, String)>>);

#[derive(Clone, Copy)]
enum Cause {
    Login,
    Tls,
}

impl Reports {
    fn keep(&self, cause: Cause, said: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((cause, said.to_owned()));
    }
}

impl ClientContext for Reports {
    /// The client reports failed handshakes of TLS in its log only, with many lines of
    /// OpenSSL's before each, which help nobody.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "FAIL" && line.contains("SSL handshake failed") {
            self.keep(Cause::Tls, line);
        }
        tracing::debug!(facility, line, "a client of kafka reports");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication) => self.keep(Cause::Login, reason),
            Some(RDKafkaErrorCode::SSL) => self.keep(Cause::Tls, reason),
            _ => tracing::debug!(%error, reason, "a client of kafka reports"),
        }
    }
}

impl ConsumerContext for Reports {}

impl Cluster {
    /// A client. Sends nothing yet.
    pub(super) fn new(kafka: &KafkaArgs) -> Result<Self, TopicsError> {
        let client = kafka
            .consumer("topics", "none")
            .create_with_context(Reports::default())
            .map_err(TopicsError::Client)?;
        Ok(Self { client })
    }

    /// What the cluster says of a topic, or of all that this user may see. Blocks for
    /// up to 10 s.
    pub(super) fn metadata(&self, topic: Option<&str>) -> Result<Metadata, TopicsError> {
        let asked = self.client.fetch_metadata(topic, TIMEOUT);
        asked.map_err(|error| self.explain(error))
    }

    /// Why a request failed, by what the client has reported.
    fn explain(&self, error: KafkaError) -> TopicsError {
        // The client hands its reports over when it is polled. It tries to connect again and
        // again, so they may never end.
        let until = Instant::now() + REPORTS;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.client.poll(left);
        }
        let reports = self.client.context();
        let last = reports
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match last {
            Some((Cause::Login, said)) => TopicsError::Unreachable {
                remedy: "kafka refuses the login; check KAFKA_USERNAME, KAFKA_PASSWORD and \
                         KAFKA_SASL_MECHANISM",
                said,
            },
            Some((Cause::Tls, said)) => TopicsError::Unreachable {
                remedy: "no TLS connection to kafka; check KAFKA_SECURITY, KAFKA_CA_FILE, \
                         KAFKA_CERTIFICATE_FILE and the name in KAFKA_BOOTSTRAP",
                said,
            },
            None => TopicsError::Unavailable(error),
        }
    }
}
