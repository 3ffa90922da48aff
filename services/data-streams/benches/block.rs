//! Measures how long it takes to encode a batch of records, with and without
//! decoding their messages. Without `--bench` each benchmark runs once, as a test.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use data_streams::{ingest::Row, warehouse::Encoder};
use divan::{Bencher, black_box, counter::ItemsCount};
use schemas::{CrmRecord, unframe};

/// Rows of a batch.
const ROWS: usize = 1_000;

/// Numbers of property columns. Their types alternate through `TYPES`.
const COLUMNS: [usize; 2] = [35, 210];

const TYPES: [(&str, &str); 5] = [
    ("Nullable(String)", "Head of Logistics"),
    (
        "Nullable(String)",
        "https://www.firm17.example.org/?from=crm",
    ),
    ("Nullable(Float64)", "1234.56"),
    ("Nullable(DateTime64(3, 'UTC'))", "2026-01-02T03:04:05.678Z"),
    ("Nullable(Bool)", "true"),
];

fn main() {
    divan::main();
}

#[divan::bench(args = COLUMNS)]
fn decode_and_encode(bencher: Bencher<'_, '_>, columns: usize) {
    let encoder = encoder(columns);
    let messages: Vec<Vec<u8>> = (0..ROWS).map(|row| message(row, columns)).collect();
    bencher.counter(ItemsCount::new(ROWS)).bench(|| {
        let rows: Vec<Row<'_>> = messages.iter().map(|it| row(black_box(it))).collect();
        encoder.encoded_len(&rows)
    });
}

#[divan::bench(args = COLUMNS)]
fn encode(bencher: Bencher<'_, '_>, columns: usize) {
    let encoder = encoder(columns);
    let messages: Vec<Vec<u8>> = (0..ROWS).map(|row| message(row, columns)).collect();
    let rows: Vec<Row<'_>> = messages.iter().map(|it| row(it)).collect();
    let counted = bencher.counter(ItemsCount::new(ROWS));
    counted.bench(|| encoder.encoded_len(black_box(&rows)));
}

fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    TYPES.into_iter().cycle()
}

fn encoder(columns: usize) -> Encoder {
    let columns: Vec<(String, &str)> = (0..columns)
        .zip(kinds())
        .map(|(number, (kind, _))| (format!("property_{number}"), kind))
        .collect();
    Encoder::new(columns.iter().map(|(name, kind)| (name.as_str(), *kind)))
}

fn message(row: usize, columns: usize) -> Vec<u8> {
    let properties = (0..columns)
        .zip(kinds())
        .map(|(number, (_, value))| (format!("property_{number}"), value))
        .collect();
    let record = CrmRecord {
        created_at: 1_700_000_000_000,
        updated_at: 1_700_000_000_001,
        connection: "default",
        run_id: "0190a8b1-0000-7000-8000-000000000000",
        reason: "backfill",
        fetched_at: 1_700_000_000_002,
        fetch_sequence: 1_700_000_000_003,
        definitions_version: 1,
        ..CrmRecord::new(
            4_711_001,
            "contacts",
            i64::try_from(row).unwrap_or(0) + 20_000_000_000,
            &properties,
        )
    };
    record.encode(1)
}

fn row(message: &[u8]) -> Row<'_> {
    let framed = unframe(message).expect("a framed message");
    Row {
        record: CrmRecord::decode(framed.datum).expect("a record"),
        topic: "hubspot.records",
        partition: 0,
        offset: 0,
    }
}
