-- Whether a rebuild has begun to exchange tables and not read yet what was
-- loaded meanwhile. The newest row counts.
CREATE TABLE IF NOT EXISTS `_hubspot_streams`.exchanges
(
    is_open Bool,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree ORDER BY at
SETTINGS fsync_after_insert = 1;
