-- What the loader has to know about the warehouse itself.

-- Who this warehouse is: another one, or an emptied one, has another id. The
-- oldest row counts, so that two processes that start at once agree.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.warehouse
(
    id UUID,
    created_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (created_at, id)
SETTINGS fsync_after_insert = 1;

-- Which connection a destination belongs to. The oldest row counts.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.destinations
(
    destination String,
    connection String,
    claimed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY (destination, claimed_at, connection)
SETTINGS fsync_after_insert = 1;

-- Dead letters that have been stored since.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.recovered
(
    topic LowCardinality(String),
    partition Int32,
    offset Int64
)
ENGINE = ReplacingMergeTree ORDER BY (topic, partition, offset);
