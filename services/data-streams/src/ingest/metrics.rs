//! Names of the loader's metrics. Dashboards use them, so they stay stable.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Gauge by partition: records that are not read yet.
pub(crate) const LAG: &str = "data_streams_ingest_lag_records";
/// Counter by table: rows that the store has acknowledged.
pub(crate) const ROWS: &str = "data_streams_ingest_rows_total";
/// Counter by table: bytes of the inserted blocks.
pub(crate) const BYTES: &str = "data_streams_ingest_bytes_total";
/// Counter: batches committed.
pub(crate) const BATCHES: &str = "data_streams_ingest_batches_total";
/// Counter by kind: values stored as text, because they do not fit the type of
/// their column (`text`) or cannot be restored exactly from it (`form`).
pub(crate) const VALUES_KEPT_AS_TEXT: &str = "data_streams_values_kept_as_text_total";
/// Gauge: rows in the last batch.
pub(crate) const BATCH_ROWS: &str = "data_streams_ingest_batch_rows";
/// Histogram by table: seconds from the encoding of the first row of an insert to
/// its answer.
pub(crate) const INSERT_SECONDS: &str = "data_streams_ingest_insert_seconds";
/// Histogram: seconds from the oldest message of a batch (by the broker's clock)
/// to the batch's commit (by this process's clock).
pub(crate) const FRESHNESS_SECONDS: &str = "data_streams_ingest_freshness_seconds";
/// Counter by kind: failed attempts that were retried.
pub(crate) const RETRIES: &str = "data_streams_ingest_retries_total";
/// Counter by reason: messages sent to the dead letters.
pub(crate) const POISON: &str = "data_streams_ingest_poison_total";
/// Gauge: streams whose records wait in Kafka, because their tables fail.
pub(crate) const WAITING_TARGETS: &str = "data_streams_ingest_waiting_targets";
/// Counter: partitions held because a schema could not be looked up.
pub(crate) const HOLDS: &str = "data_streams_ingest_holds_total";

/// Describes the metrics of this file.
pub(crate) fn describe_metrics() {
    describe_gauge!(LAG, "Records that are not read yet.");
    describe_counter!(ROWS, "Rows that ClickHouse has acknowledged.");
    describe_counter!(BYTES, "Bytes of the inserted blocks.");
    describe_counter!(BATCHES, "Batches committed.");
    describe_counter!(
        VALUES_KEPT_AS_TEXT,
        "Values stored as text: text does not fit the type of its column, form would not come back exactly."
    );
    describe_gauge!(BATCH_ROWS, "Rows in the last batch.");
    describe_histogram!(INSERT_SECONDS, "Seconds of an insert, with its encoding.");
    describe_histogram!(
        FRESHNESS_SECONDS,
        "Seconds from the oldest message of a batch to the batch's commit."
    );
    describe_counter!(RETRIES, "Failed attempts that were retried.");
    describe_counter!(POISON, "Messages sent to the dead letters.");
    describe_gauge!(
        WAITING_TARGETS,
        "Streams whose records wait in Kafka, because their tables fail."
    );
    describe_counter!(
        HOLDS,
        "Partitions held because a schema could not be looked up."
    );
}
