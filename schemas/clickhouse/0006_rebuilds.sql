-- Rebuilds, for every instance to see. The newest row of an id counts. Who carries it
-- out writes a row every few seconds; one that has written none for a while has ended,
-- and another begins it anew. Times in ms since 1970.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.rebuilds
(
    id String,
    phase LowCardinality(String),
    records UInt64,
    expected UInt64,
    started_at Int64,
    ended_at Nullable(Int64),
    error Nullable(String),
    owner String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at) ORDER BY id
SETTINGS fsync_after_insert = 1;
