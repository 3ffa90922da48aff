//! Names of the loader's metrics. Dashboards use them, so they stay stable.

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
