-- What was found when the log's objects of a stream were compared with the tables,
-- after a pass over both of HubSpot's lists. Of one pass there may be several, by
-- several instances; the first one counts. Times in ms since 1970.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.comparisons
(
    connection String,
    stream String,
    run_id String,
    request_id Nullable(String),
    started_at Int64,
    finished_at Int64,
    compared_at Int64,
    in_hubspot Int64,
    in_warehouse Int64,
    changed Int64,
    deleted Int64,
    unreadable Int64,
    still_different Int64
)
ENGINE = MergeTree ORDER BY (connection, stream, finished_at)
TTL toDateTime(intDiv(compared_at, 1000)) + INTERVAL 1 YEAR
SETTINGS fsync_after_insert = 1;
