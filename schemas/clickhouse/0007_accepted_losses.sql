-- Whether whoever asked for a rebuild accepts that tables lose objects which the log no
-- longer has.
ALTER TABLE `_hubspot_streams`.rebuilds
    ADD COLUMN IF NOT EXISTS accepts_loss Bool DEFAULT false;
