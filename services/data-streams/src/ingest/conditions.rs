//! Names of the readiness conditions that the ingest sets.

/// Kafka can be read.
pub const KAFKA: &str = "kafka";
/// The store answers.
pub const CLICKHOUSE: &str = "clickhouse";
/// The store is the warehouse that the committed offsets belong to.
pub const WAREHOUSE: &str = "warehouse";
/// Reason why [`WAREHOUSE`] fails, and what to do.
pub(crate) const ANOTHER_WAREHOUSE: &str = "the committed offsets belong to another warehouse, so \
    loading has stopped: refill this one from the log with POST /v1/warehouse/rebuild";
/// Every schema in the log can be looked up.
pub const REGISTRY: &str = "registry";
/// The tables of every stream can be stored into.
pub const TARGETS: &str = "targets";
/// Dead letters can be written.
pub const DEAD_LETTERS: &str = "dead_letters";
/// Every message of the definitions topic can be read.
pub const DEFINITIONS: &str = "definitions";

/// Whether a condition concerns loading only: without it the API still takes commands.
pub(crate) fn is_of_loading(condition: &str) -> bool {
    [
        CLICKHOUSE,
        WAREHOUSE,
        REGISTRY,
        TARGETS,
        DEAD_LETTERS,
        DEFINITIONS,
    ]
    .contains(&condition)
}
