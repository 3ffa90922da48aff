-- One row per version of an object of one type; a row's version is made by
-- `version` in schemas/src/crm_record.rs, and the largest counts. A column per
-- property is added when the definitions grow.
--
-- No partitions, so that an insert is one part. Compact parts, as a wide part
-- keeps several files open for each column. A small granularity, as a FINAL read
-- of a page takes whole granules of every part. A base of 20 merges many parts of
-- similar size at once: every merge writes its rows again, and with the default
-- of 5 the merges cost more than the inserts.
CREATE TABLE IF NOT EXISTS {table}
(
    {columns}
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY _object_id
SETTINGS non_replicated_deduplication_window = 1000,
         min_bytes_for_wide_part = 536870912,
         index_granularity = 1024,
         merge_selector_base = 20,
         min_age_to_force_merge_seconds = 3600,
         min_age_to_force_merge_on_partition_only = 1
