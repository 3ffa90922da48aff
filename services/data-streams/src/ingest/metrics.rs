//! Names of the loader's metrics. They are promises: dashboards use them.
//!
//! It must not know who reads them.

/// Gauge by partition: records in the log that are not read yet.
pub(crate) const LAG: &str = "data_streams_ingest_lag_records";
/// Counter by table: rows that the store has answered for.
pub(crate) const ROWS: &str = "data_streams_ingest_rows_total";
/// Counter by table: bytes of the blocks inserted.
pub(crate) const BYTES: &str = "data_streams_ingest_bytes_total";
/// Counter: batches committed.
pub(crate) const BATCHES: &str = "data_streams_ingest_batches_total";
/// Values that did not fit the type of their column, or whose text the column
/// alone does not give back; label `kind`: `text` or `form`.
pub(crate) const VALUES_KEPT_AS_TEXT: &str = "data_streams_values_kept_as_text_total";
/// Gauge: rows in the last batch.
pub(crate) const BATCH_ROWS: &str = "data_streams_ingest_batch_rows";
/// Histogram by table: seconds from the encoding of the first row of
/// an insert to its answer.
pub(crate) const INSERT_SECONDS: &str = "data_streams_ingest_insert_seconds";
/// Histogram: seconds from the oldest message of a batch to its commit, by the
/// broker's clock at one end and ours at the other.
pub(crate) const FRESHNESS_SECONDS: &str = "data_streams_ingest_freshness_seconds";
/// Counter by kind: inserts that failed and were tried again.
pub(crate) const RETRIES: &str = "data_streams_ingest_retries_total";
/// Counter by reason: messages sent to the dead letters.
pub(crate) const POISON: &str = "data_streams_ingest_poison_total";
/// Counter: partitions held, as the registry could not name a schema.
pub(crate) const HOLDS: &str = "data_streams_ingest_holds_total";
