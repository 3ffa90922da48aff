//! The scenarios: the whole system over real servers, one module a subject.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod alerts;
mod associations;
mod change_log;
mod changes_over_http;
mod changing_records;
mod connection_settings;
mod credentials;
mod dashboard;
mod data_streams_crashes;
mod dead_letters;
mod definition_numbers;
mod documentation;
mod first_sync;
mod full_disk;
mod generated_clients;
mod hubspot_errors;
mod hubspot_outages;
mod hubspot_sdks;
mod index_faults;
mod make_up;
mod managed_servers;
mod many_streams;
mod memory;
mod missing_state;
mod network_faults;
mod other_consumers;
mod part_merges;
mod portal_claims;
mod property_changes;
mod questions_in_sql;
mod reader_permissions;
mod reconciliations;
mod record_changes;
mod refused_starts;
mod registry_replaced;
mod rest_api;
mod restarts;
mod secrets_and_access;
mod sensitive_properties;
mod server_faults;
mod several_data_streams;
mod several_workers;
mod sql_injection_and_permissions;
mod start_and_stop;
mod targets;
mod traces;
mod unreadable_objects;
mod upgrade;
mod version_history;
mod worker_crashes;
mod wrong_clock;
