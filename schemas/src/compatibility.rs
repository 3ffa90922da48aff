//! Every schema reads what any released one wrote: the registry's
//! `BACKWARD_TRANSITIVE`, checked without a registry.
//!
//! To change a schema, add the changed file to `avro/released/` under its next
//! number. A released file never changes.

use std::{fs, path::Path};

use apache_avro::{Schema, schema_compatibility::SchemaCompatibility};

#[test]
fn every_schema_reads_what_its_released_versions_wrote() {
    let topics = crate::Topics::with_prefix("");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("avro/released");
    let mut checked = 0;
    for (topic, reader) in topics.schemas() {
        let reader = Schema::parse_str(reader).unwrap();
        let mut is_released = false;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.split('.').next() != Some(topic) {
                continue;
            }
            let writer = Schema::parse_str(&fs::read_to_string(&path).unwrap()).unwrap();
            SchemaCompatibility::can_read(&writer, &reader)
                .unwrap_or_else(|error| panic!("{topic} cannot read {name}: {error}"));
            is_released |= writer.canonical_form() == reader.canonical_form();
            checked += 1;
        }
        assert!(
            is_released,
            "{topic}: the schema has changed; add it to avro/released/"
        );
    }
    assert!(checked >= topics.schemas().len());
}
