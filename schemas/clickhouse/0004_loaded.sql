-- How far a topic is loaded: the next offset to read. A warehouse that was restored from
-- a backup says here where loading has to go on. The newest row counts; if it is lost,
-- more is read again.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.loaded
(
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at) ORDER BY (topic, partition);
