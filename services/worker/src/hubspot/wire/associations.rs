//! Parses the associations of objects.

use std::borrow::Cow;

use schemas::Association;
use serde::Deserialize;

use super::{Paging, ParseError, ReadError, object::Id, parse};

/// A page of the associations of several objects.
#[derive(Debug, Default)]
pub(in crate::hubspot) struct AssociationsPage {
    /// The object's id and what it is associated with; the same object can come twice.
    pub(in crate::hubspot) found: Vec<(i64, Vec<Association>)>,
    /// The objects that have more, with the cursor of their next page.
    pub(in crate::hubspot) more: Vec<(i64, String)>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    results: Vec<Of<'a>>,
    #[serde(borrow, default)]
    errors: Vec<ReadError<'a>>,
}

#[derive(Deserialize)]
struct Of<'a> {
    from: From,
    #[serde(borrow, default)]
    to: Vec<To<'a>>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct From {
    id: Id,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct To<'a> {
    to_object_id: Id,
    #[serde(borrow, default)]
    association_types: Vec<Kind<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind<'a> {
    #[serde(borrow)]
    category: Cow<'a, str>,
    type_id: i64,
    #[serde(borrow, default)]
    label: Option<Cow<'a, str>>,
}

/// Parses a batch read of associations. An object without any is not in it.
pub(in crate::hubspot) fn associations(body: &[u8]) -> Result<AssociationsPage, ParseError> {
    let answer: Answer<'_> = parse(body)?;
    // Any other error would be taken for no associations.
    if !answer.errors.iter().all(ReadError::is_not_found) {
        return Err(ParseError::Partial);
    }
    let mut page = AssociationsPage::default();
    for Of { from, to, paging } in answer.results {
        let all = to.into_iter().flat_map(To::associations).collect();
        page.found.push((from.id.0, all));
        page.more
            .extend(super::next_of(paging).map(|after| (from.id.0, after)));
    }
    Ok(page)
}

impl To<'_> {
    fn associations(self) -> impl Iterator<Item = Association> {
        let id = self.to_object_id.0.to_string();
        self.association_types
            .into_iter()
            .map(move |it| Association {
                id: id.clone(),
                category: it.category.into_owned(),
                type_id: it.type_id,
                label: it
                    .label
                    .filter(|label| !label.is_empty())
                    .map(Cow::into_owned),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_found_has_none_and_any_other_error_counts() {
        let body = |category: &str| {
            format!(
                r#"{{"status":"COMPLETE","results":[{{"from":{{"id":"1"}},"to":[{{"toObjectId":77,
                "associationTypes":[{{"category":"HUBSPOT_DEFINED","typeId":279,"label":null}},
                {{"category":"USER_DEFINED","typeId":4,"label":"Billing \"contact\""}}]}}],
                "paging":{{"next":{{"after":"500","link":"x"}}}}}}],"numErrors":1,
                "errors":[{{"status":"error","category":"{category}",
                "subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND"}}]}}"#
            )
        };
        let page = associations(body("OBJECT_NOT_FOUND").as_bytes()).unwrap();
        assert_eq!(page.more, [(1, "500".to_owned())]);
        let (id, found) = &page.found[0];
        let labels: Vec<_> = found.iter().map(|it| it.label.as_deref()).collect();
        assert_eq!((*id, labels), (1, vec![None, Some("Billing \"contact\"")]));
        assert!(found.iter().all(|it| it.id == "77"), "{found:?}");
        let failed = associations(body("INTERNAL_ERROR").as_bytes());
        assert!(matches!(failed, Err(ParseError::Partial)), "{failed:?}");
    }
}
