//! The search engine, compared with a plain evaluation of the same filter.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{definitions::Definition, index_lag::IndexLag, values::Values};

fn table(rows: &[(u64, i64)]) -> Table {
    let mut table = Table::new("companies", "0-2", IndexLag::default());
    table.define(Definition::new("name", "string", "text"));
    table.define(Definition::new("size", "number", "number"));
    let slot = table.definitions.slot("size").unwrap();
    for &(id, ms) in rows {
        let size = (id % 10).to_string();
        let values = Values::pack([(slot, size.as_str())]);
        table.insert_seeded(Record::new(id, ms, ms, values));
    }
    table
}

fn search(table: &Table, body: serde_json::Value) -> Result<Found, Refused> {
    run(
        table,
        &serde_json::from_value(body).unwrap(),
        PageQuirks::default(),
    )
}

fn ids(found: &Found) -> Vec<u64> {
    found.rows.iter().map(|(id, _)| *id).collect()
}

#[test]
fn ids_compare_as_numbers() {
    let table = table(&[(9, 5_000), (10, 5_000), (100, 5_000)]);
    let body = json!({
        "filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": "9"}],
        "sorts": [{"propertyName": "hs_object_id", "direction": "DESCENDING"}]});
    assert_eq!(ids(&search(&table, body).unwrap()), [100, 10]);
}

#[test]
fn each_operator_does_what_it_says() {
    let table = table(&[(1, 5_000), (2, 5_000), (3, 5_000)]);
    let run = |operator: &str, value: serde_json::Value| {
        let mut filter = json!({"propertyName": "size", "operator": operator});
        let fields = filter.as_object_mut().unwrap();
        fields.extend(value.as_object().unwrap().clone());
        ids(&search(&table, json!({"filterGroups": [{"filters": [filter]}]})).unwrap())
    };
    assert_eq!(run("EQ", json!({"value": "2"})), [2]);
    assert_eq!(run("NEQ", json!({"value": 2})), [1, 3]);
    assert_eq!(run("LT", json!({"value": "2"})), [1]);
    assert_eq!(run("LTE", json!({"value": "2"})), [1, 2]);
    assert_eq!(run("GTE", json!({"value": "2"})), [2, 3]);
    assert_eq!(
        run("BETWEEN", json!({"value": "2", "highValue": "3"})),
        [2, 3]
    );
    assert_eq!(run("IN", json!({"values": ["1", "3"]})), [1, 3]);
    assert_eq!(run("NOT_IN", json!({"values": ["1", "3"]})), [2]);
    assert_eq!(run("HAS_PROPERTY", json!({})), [1, 2, 3]);
    assert_eq!(run("NOT_HAS_PROPERTY", json!({})), [0; 0]);
}

#[test]
fn searches_that_hubspot_refuses_are_refused() {
    let table = table(&[(1, 5_000)]);
    let two_sorts = json!({"sorts": ["hs_object_id", "createdate"]});
    assert!(matches!(
        search(&table, two_sorts),
        Err(Refused::Invalid(_))
    ));
    let groups = vec![json!({"filters": []}); 6];
    assert!(search(&table, json!({"filterGroups": groups})).is_err());
    let unknown = json!({"filters": [{"propertyName": "nope", "operator": "EQ", "value": "1"}]});
    assert_eq!(
        search(&table, unknown),
        Err(Refused::NoSuchProperty("nope".into()))
    );
    let epoch = json!({"filters": [{"propertyName": "hs_lastmodifieddate", "operator": "GTE",
                                    "value": "1970-01-01T00:00:00Z"}]});
    assert_eq!(search(&table, epoch), Err(Refused::EpochZero));
}

#[test]
fn hs_lastmodifieddate_of_contacts_matches_nothing_without_an_error() {
    let mut table = table(&[]);
    table.name = "contacts".into();
    table.insert_seeded(Record::new(1, 5_000, 5_000, Values::default()));
    let body = json!({"filters": [{"propertyName": "hs_lastmodifieddate", "operator": "GTE",
                                   "value": "2000"}]});
    assert_eq!(search(&table, body).unwrap().total, 0);
}

#[test]
fn the_quirk_returns_rows_just_outside_the_window() {
    let table = table(&[(1, 4_999), (2, 5_000), (3, 5_001), (4, 5_002)]);
    let body = json!({"filters": [{"propertyName": "hs_lastmodifieddate", "operator": "BETWEEN",
                                   "value": "5000", "highValue": "5000"}]});
    let quirks = PageQuirks {
        slop_ms: 1,
        ..PageQuirks::default()
    };
    let found = run(&table, &serde_json::from_value(body).unwrap(), quirks).unwrap();
    assert_eq!(found.total, 3);
}

proptest! {
    #[test]
    fn a_window_paged_by_keyset_returns_each_row_once(
        rows in proptest::collection::btree_map(1_u64..5_000, 2_000_i64..2_050, 0..300),
        low in 2_000_i64..2_050,
        width in 0_i64..50,
        limit in 1_usize..60,
    ) {
        let rows: Vec<(u64, i64)> = rows.into_iter().collect();
        let table = table(&rows);
        let high = low + width;
        let expected: Vec<u64> =
            rows.iter().filter(|(_, ms)| (low..high).contains(ms)).map(|(id, _)| *id).collect();
        let (mut last, mut found) = (0, Vec::new());
        loop {
            let page = search(&table, json!({"limit": limit,
                "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
                "filterGroups": [{"filters": [
                    {"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": low},
                    {"propertyName": "hs_lastmodifieddate", "operator": "LT", "value": high},
                    {"propertyName": "hs_object_id", "operator": "GT", "value": last}]}]})).unwrap();
            prop_assert_eq!(page.total, expected.len() - found.len());
            let Some(&(id, _)) = page.rows.last() else { break };
            found.extend(ids(&page));
            last = id;
        }
        prop_assert_eq!(found, expected);
    }
}
