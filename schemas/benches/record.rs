//! Time to encode, to decode and to hash a record. Without `--bench` each benchmark runs
//! once, as a test.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use divan::{Bencher, black_box, counter::ItemsCount};
use schemas::{
    ContentHasher, CrmRecord, Definitions, Property, PropertyMap, PropertyMapBuilder, unframe,
};

/// Numbers of properties that are set: 35 as in the portal of the benchmarks,
/// and six times as many.
const SET: [usize; 2] = [35, 210];

fn main() {
    divan::main();
}

fn properties(set: usize) -> PropertyMap {
    let mut properties = PropertyMapBuilder::default();
    for number in 0..set {
        let value = format!("value {number} of about thirty bytes");
        properties.push(&format!("property_{number}"), &value);
    }
    properties.finish()
}

fn record(properties: &PropertyMap) -> CrmRecord<'_, &PropertyMap> {
    CrmRecord {
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_001,
        connection: "default",
        run_id: "0190a8b1-0000-7000-8000-000000000000",
        reason: "backfill",
        fetched_at: 1_700_000_000_002,
        fetch_sequence: 1_700_000_000_003,
        definitions_version: 1,
        ..CrmRecord::new(4_711_001, "contacts", 20_000_000_123, properties)
    }
}

#[divan::bench(args = SET)]
fn encode(bencher: Bencher<'_, '_>, set: usize) {
    let properties = properties(set);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| record(black_box(&properties)).encode(1));
}

#[divan::bench(args = SET)]
fn decode(bencher: Bencher<'_, '_>, set: usize) {
    let properties = properties(set);
    let message = record(&properties).encode(1);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| {
        let framed = unframe(black_box(&message)).expect("a framed message");
        let record = CrmRecord::decode(framed.datum).expect("a record");
        record.properties.iter().count()
    });
}

/// Names by their bytes, as HubSpot mostly sends them, or in another order.
#[divan::bench(args = [true, false])]
fn content_hash_of_49_properties(bencher: Bencher<'_, '_>, sorted: bool) {
    let mut names: Vec<_> = (0..49).map(|number| format!("property_{number}")).collect();
    if sorted {
        names.sort_unstable();
    }
    let mut builder = PropertyMapBuilder::default();
    for name in &names {
        builder.push(name, "a value of about thirty bytes");
    }
    let properties = builder.finish();
    let volatile = ["hs_time_in_stage", "property_3", "property_40"];
    let mut hasher = ContentHasher::new(&Definitions {
        portal_id: 4_711_001,
        object_type: "contacts".to_owned(),
        version: 1,
        fetched_at: 0,
        properties: volatile.map(volatile_property).into(),
    });
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| hasher.of_object(false, black_box(&properties)));
}

fn volatile_property(name: &str) -> Property {
    Property {
        name: name.to_owned(),
        volatile: true,
        ..Property::default()
    }
}
