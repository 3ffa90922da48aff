-- Whose data a destination has: HubSpot's id of the account. 0 in the rows of a former
-- version, for which the stored records say it. The oldest other row counts.
ALTER TABLE `_hubspot_streams`.destinations ADD COLUMN IF NOT EXISTS portal_id Int64 DEFAULT 0;
-- Up to where the log's records of a connection were purged: the next offset that is
-- loaded.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.purged
(
    connection String,
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at) ORDER BY (connection, topic, partition)
SETTINGS fsync_after_insert = 1;
