-- Every version of every object; the table only grows. A version that is loaded
-- again has the same fetch sequence and replaces itself; an object that returns to
-- a former content has another one. The small granularity makes reading a few
-- objects cheap.
CREATE TABLE IF NOT EXISTS {table}
(
    {columns}
)
ENGINE = ReplacingMergeTree
ORDER BY (object_type, object_id, fetch_sequence)
SETTINGS non_replicated_deduplication_window = 1000,
         min_bytes_for_wide_part = 536870912,
         merge_selector_base = 20,
         index_granularity = 128
