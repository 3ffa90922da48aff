-- Every version of every object, by its position in the log; the table only
-- grows. The small granularity makes reading a few objects cheap.
CREATE TABLE IF NOT EXISTS {table}
(
    object_type LowCardinality(String),
    object_id UInt64,
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    portal_id UInt64,
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    synced_at DateTime64(3, 'UTC'),
    archived Bool,
    deleted Bool,
    merged_into Nullable(UInt64),
    connection LowCardinality(String),
    run_id LowCardinality(String),
    reason LowCardinality(String),
    version UInt128,
    fetch_sequence UInt64,
    properties String
)
ENGINE = ReplacingMergeTree
ORDER BY (object_type, object_id, topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 1000,
         min_bytes_for_wide_part = 536870912,
         merge_selector_base = 20,
         index_granularity = 128
