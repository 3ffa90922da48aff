//! Parsing of HubSpot's JSON, valid and invalid.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::hubspot::objects::ids;

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn a_page_is_parsed_with_times_cursor_and_merged_ids() {
    let body = bytes(&json!({
        "results": [{
            "id": "512",
            "properties": {
                "email": "a@b.c", "note": "two\nlines \u{1f600}", "phone": null, "cleared": "",
                "hs_merged_object_ids": "7;8"
            },
            "propertiesWithHistory": {"email": [{"value": "a@b.c"}]},
            "createdAt": "2025-01-02T03:04:05.678Z",
            "updatedAt": "2026-01-02T03:04:05.678Z",
            "archived": true,
            "associations": {"companies": {"results": [{"id": "77"}]}},
            "url": "https://app.hubspot.com/x"
        }],
        "paging": {"next": {"after": "513", "link": "https://api.hubapi.com/x"}}
    }));
    let page = list_page(&body).unwrap();
    assert_eq!(page.next.as_deref(), Some("513"));
    let [object] = page.objects.as_slice() else {
        panic!("one object")
    };
    assert_eq!((object.id, object.archived), (512, true));
    assert_eq!(
        (object.created_at, object.updated_at),
        (1_735_787_045_678, 1_767_323_045_678)
    );
    assert_eq!(object.merged_ids, [7, 8]);
    assert_eq!(
        object.properties.iter().collect::<Vec<_>>(),
        [
            ("email", "a@b.c"),
            ("hs_merged_object_ids", "7;8"),
            ("note", "two\nlines \u{1f600}")
        ]
    );
}

#[test]
fn an_object_with_only_an_id_is_parsed() {
    let page = list_page(br#"{"results":[{"id":9}]}"#).unwrap();
    assert_eq!(page.next, None);
    assert_eq!(page.objects[0].id, 9);
    let times =
        br#"{"results":[{"id":"9","properties":{"lastmodifieddate":"1000","createdate":"500"}}]}"#;
    let object = list_page(times).unwrap().objects.remove(0);
    assert_eq!((object.created_at, object.updated_at), (500, 1_000));
}

#[test]
fn an_answer_without_results_is_not_an_empty_page() {
    for body in [
        "{}",
        "[]",
        "",
        "null",
        "<html>",
        r#"{"results":null}"#,
        r#"{"results":[{}]}"#,
    ] {
        assert!(list_page(body.as_bytes()).is_err(), "{body}");
        assert!(search_page(body.as_bytes(), 0).is_err(), "{body}");
        assert!(batch(body.as_bytes(), &[1]).is_err(), "{body}");
    }
}

#[test]
fn a_search_page_has_ascending_ids_above_the_last_one() {
    let body = br#"{"total":7,"results":[{"id":"9","properties":{"a":"b"}},{"id":"3"},{"id":"9"},
        {"id":"1"}],"paging":{"next":{"after":200}}}"#;
    let SearchAnswer { page, next } = search_page(body, 1).unwrap();
    assert_eq!(next.as_deref(), Some("200"));
    assert_eq!(
        page,
        SearchPage {
            ids: vec![3, 9],
            total: 7,
            more: true
        }
    );
}

#[test]
fn a_batch_has_the_ids_of_the_answer_and_those_that_are_missing() {
    let body = br#"{"status":"COMPLETE","results":[{"id":"20"},{"id":"1"},{"id":"20"}],
        "numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND",
        "context":{"ids":["9"]}}]}"#;
    let batch = batch(body, &[1, 9, 10, 20]).unwrap();
    assert_eq!(ids(&batch.objects), [20, 1]);
    assert_eq!(batch.missing, [9, 10]);
}

#[test]
fn a_batch_with_other_errors_is_refused_instead_of_counting_ids_as_missing() {
    let body = br#"{"results":[{"id":"1"}],"errors":[{"category":"INTERNAL","context":{}}]}"#;
    assert!(matches!(batch(body, &[1, 2]), Err(ParseError::Partial)));
}

#[test]
fn archived_definitions_are_left_out() {
    let body = br#"{"results":[{"name":"a","type":"number","fieldType":"number","label":null,
        "calculated":true,"referencedObjectType":"OWNER","options":[]},{"name":"b","archived":true},
        {"name":"c"}]}"#;
    let properties = properties(body).unwrap();
    assert_eq!(properties.len(), 2);
    assert_eq!(properties[0].kind, "number");
    assert_eq!(
        properties[0].referenced_object_type.as_deref(),
        Some("OWNER")
    );
    assert!(properties[0].calculated);
    assert_eq!(properties[1].kind, "string");
}

#[test]
fn the_daily_usage_is_parsed() {
    let body = br#"{"results":[{"name":"private-apps-api-calls-daily","usageLimit":500000,
        "currentUsage":123,"collectedAt":"x","fetchStatus":"SUCCESS",
        "resetsAt":"2026-01-02T00:00:00Z"}]}"#;
    let expected = Usage {
        limit: 500_000,
        used: 123,
        resets_at: Some(1_767_312_000_000),
    };
    assert_eq!(usage(body).unwrap(), Some(expected));
    assert_eq!(usage(br#"{"results":[]}"#).unwrap(), None);
}

#[test]
fn an_error_does_not_quote_the_answer() {
    let error = list_page(br#"{"results":[{"id":"secret@example.com"}]}"#).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Set properties of the objects of a page, in their order.
fn properties_of(page: &ListPage) -> Vec<Vec<(&str, &str)>> {
    let objects = page.objects.iter();
    objects.map(|it| it.properties.iter().collect()).collect()
}

#[test]
fn names_in_any_order_and_with_any_character_are_distinguished() {
    // Unescaped, the first name looks like two names of the second object.
    let body = br#"{"results":[
        {"id":"1","properties":{"a\":null,\"b":"1","c":"2","d":"3"}},
        {"id":"2","properties":{"a":null,"b":"4","d" : "5","c":"6"}},
        {"id":"3","properties":{"c":"7","a\":null,\"b":"8"}},
        {"id":"4","properties":{}},
        {"id":"5","properties":null},
        {"id":"6","properties":{"b":9,"a":true}}
    ]}"#;
    let page = list_page(body).unwrap();
    let odd = "a\":null,\"b";
    assert_eq!(
        properties_of(&page),
        [
            vec![(odd, "1"), ("c", "2"), ("d", "3")],
            vec![("b", "4"), ("d", "5"), ("c", "6")],
            vec![("c", "7"), (odd, "8")],
            vec![],
            vec![],
            vec![("b", "9"), ("a", "true")],
        ]
    );
}

proptest! {
    #[test]
    fn properties_stay_with_their_object(
        objects in prop::collection::vec(
            prop::collection::vec(("[a-e\"\\\\]{1,2}", prop::option::of("[a-z\"é]{0,9}")), 0..9), 0..9),
        indented in any::<bool>(),
    ) {
        let objects: Vec<serde_json::Map<_, _>> = objects.into_iter()
            .map(|it| it.into_iter().map(|(name, value)| (name, json!(value))).collect()).collect();
        let results: Vec<_> = objects.iter().map(|it| json!({"id": "1", "properties": it})).collect();
        let body = json!({"results": results});
        let text = if indented { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let expected: Vec<Vec<(&str, &str)>> = objects.iter().map(|it| it.iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str().filter(|it| !it.is_empty())?))).collect()).collect();
        let page = list_page(text.unwrap().as_bytes()).unwrap();
        prop_assert_eq!(properties_of(&page), expected);
    }

    #[test]
    fn every_set_value_arrives_unchanged(
        id in any::<i64>(),
        properties in prop::collection::btree_map("\\PC{1,12}", prop::option::of(any::<String>()), 0..30),
    ) {
        let body = bytes(&json!({"results": [{"id": id.to_string(), "properties": properties}]}));
        let page = list_page(&body).unwrap();
        let read: BTreeMap<_, _> = page.objects[0].properties.iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let set: BTreeMap<_, _> = properties.into_iter()
            .filter_map(|(name, value)| value.filter(|value| !value.is_empty()).map(|value| (name, value)))
            .collect();
        prop_assert_eq!(page.objects[0].id, id);
        prop_assert_eq!(read, set);
    }

    #[test]
    fn an_incomplete_answer_is_refused(cut in any::<prop::sample::Index>()) {
        let body = br#"{"results":[{"id":"1","properties":{"a":"b \u00e9","c":null}}],"paging":{"next":{"after":"2"}}}"#;
        prop_assert!(list_page(&body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop((list_page(&body), search_page(&body, 0), batch(&body, &[1])));
    }
}

#[test]
fn scopes_of_another_form_do_not_spoil_a_token() {
    let token = |scopes: &str| {
        let body = format!(r#"{{"access_token":"a","scopes":{scopes}}}"#);
        super::token(body.as_bytes()).unwrap().scopes
    };
    assert_eq!(token(r#"["oauth"]"#), Some(vec!["oauth".to_owned()]));
    for other in ["null", r#""oauth crm""#, "[1]", "{}"] {
        assert_eq!(token(other), None, "{other}");
    }
    let info = br#"{"hubId":1,"scopes":["a","b"]}"#;
    let names = ["a", "b"].map(ToOwned::to_owned).to_vec();
    assert_eq!(token_scopes(info).unwrap(), Some(names));
    assert_eq!(token_scopes(b"{}").unwrap(), None);
}
