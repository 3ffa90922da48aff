//! What the cluster says of itself, and why it cannot be reached.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext,
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

/// The last error of a client that settings may be the reason for.
#[derive(Default)]
struct Reports(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if let Some(code @ (RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)) = code {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((code, reason.to_owned()));
        }
        tracing::debug!(%error, reason, "a client of kafka reports");
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
        // The client hands its reports over when it is polled. Without a timeout each
        // poll would take one only.
        while self.client.poll(REPORTS).is_some() {}
        let reports = self.client.context();
        let last = reports
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match last {
            Some((RDKafkaErrorCode::Authentication, said)) => TopicsError::Unreachable {
                remedy: "kafka refuses the login; check KAFKA_USERNAME, KAFKA_PASSWORD and \
                         KAFKA_SASL_MECHANISM",
                said,
            },
            Some((_, said)) => TopicsError::Unreachable {
                remedy: "no TLS connection to kafka; check KAFKA_SECURITY, KAFKA_CA_FILE, \
                         KAFKA_CERTIFICATE_FILE and the name in KAFKA_BOOTSTRAP",
                said,
            },
            None => TopicsError::Unavailable(error),
        }
    }
}
