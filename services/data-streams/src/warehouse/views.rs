//! The views that people query, made from the columns that a table has.
//!
//! It must not know where the columns come from.

use std::collections::HashSet;

use super::{
    layout::{Column, ColumnType, Layout},
    names::{literal, qualified, quoted, raw_database},
};

/// Our own columns as interface and order of the views.
const OWN: [(&str, &str, &str); 9] = [
    ("_object_id", "UInt64", "HubSpot's id of the object"),
    ("_portal_id", "UInt64", "HubSpot's id of the account"),
    (
        "_created_at",
        "DateTime64(3, 'UTC')",
        "when HubSpot created the object",
    ),
    (
        "_updated_at",
        "DateTime64(3, 'UTC')",
        "when HubSpot last changed it",
    ),
    ("_synced_at", "DateTime64(3, 'UTC')", "when it was fetched"),
    ("_archived", "Bool", "in HubSpot's recycle bin"),
    ("_deleted", "Bool", "erased, merged away or gone"),
    ("_run_id", "String", "the run that fetched it"),
    (
        "_merged_into",
        "Nullable(UInt64)",
        "the object that took its place",
    ),
];

/// What `_extra` holds, for its comment.
const EXTRA: &str = "texts of values that have no column, do not fit its type or would not print \
                     back the same, by property";

/// Statements that make both views of an object type.
pub(crate) fn statements(destination: &str, object_type: &str, layout: &Layout) -> [String; 2] {
    let body = body(layout);
    let view = |name: &str, filter: &str| {
        format!(
            "CREATE OR REPLACE VIEW {} ({}) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT \
             {} FROM {} AS t FINAL{filter}",
            qualified(destination, name),
            body.columns.join(", "),
            body.expressions.join(", "),
            qualified(&raw_database(destination), object_type),
        )
    };
    [
        view(&format!("{object_type}_all"), ""),
        view(object_type, " WHERE NOT t._deleted AND NOT t._archived"),
    ]
}

struct Body {
    columns: Vec<String>,
    expressions: Vec<String>,
}

fn body(layout: &Layout) -> Body {
    let mut body = Body {
        columns: Vec::new(),
        expressions: Vec::new(),
    };
    for (name, kind, comment) in OWN {
        body.columns
            .push(format!("{name} {kind} COMMENT {}", literal(comment)));
        body.expressions.push(format!("t.{name} AS {name}"));
    }
    let mut taken = HashSet::new();
    let mut texts = Vec::new();
    for (property, columns) in layout.properties() {
        let Some(latest) = columns.first() else {
            continue;
        };
        // Storage may have had to give way; people see HubSpot's name where
        // it is not one of ours.
        let name = if property.starts_with('_') || taken.contains(property) {
            latest.name.as_str()
        } else {
            property
        };
        taken.insert(name.to_owned());
        let kind = latest.kind.sql();
        body.columns.push(format!(
            "{} {kind} COMMENT {}",
            quoted(name),
            literal(&latest.note.text())
        ));
        body.expressions
            .push(format!("{} AS {}", current_value(&columns), quoted(name)));
        texts.extend(lost_texts(property, &columns));
    }
    body.columns
        .push(format!("_extra JSON COMMENT {}", literal(EXTRA)));
    body.expressions.push(extra(&texts));
    body
}

/// The value in the latest type: of the latest column, else cast from the
/// earlier ones. A row was written when one of them was the latest.
fn current_value(columns: &[&Column]) -> String {
    let Some((latest, earlier)) = columns.split_first() else {
        return "NULL".to_owned();
    };
    let own = storage(latest);
    if earlier.is_empty() {
        return own;
    }
    let mut values = vec![own];
    if latest.kind == ColumnType::Text {
        // What once was not a number may be read now that it need not be one.
        let name = literal(&latest.note.property);
        values.push(format!(
            "nullIf(JSONExtractString(toString(t._extra), {name}), '')"
        ));
    }
    values.extend(earlier.iter().map(|column| cast(column, latest)));
    format!("coalesce({})", values.join(", "))
}

/// A value of one type in another, NULL where that would be a guess: a number
/// is not taken for a time, as nobody knows its unit.
fn cast(from: &Column, to: &Column) -> String {
    use ColumnType::{Boolean, Date, Identifier, Number, Text, Time};
    let value = storage(from);
    let checked = || format!("accurateCastOrNull({value}, {})", literal(to.kind.sql()));
    match (from.kind, to.kind) {
        (kind, wanted) if kind == wanted => value,
        (_, Text) => text(from),
        (Text, Date) => format!("toDate32OrNull({value})"),
        (Text, Time) => format!("parseDateTime64BestEffortOrNull({value}, 3, 'UTC')"),
        (Date, Time) => format!("toDateTime64({value}, 3, 'UTC')"),
        (Text | Boolean | Identifier, Number)
        | (Text | Boolean | Number, Identifier)
        | (Text, Boolean) => checked(),
        (
            Number | Identifier | Boolean | Date | Time,
            Number | Identifier | Boolean | Date | Time,
        ) => format!("CAST(NULL AS {})", to.kind.sql()),
    }
}

/// A value as HubSpot writes it.
fn text(column: &Column) -> String {
    let value = storage(column);
    match column.kind {
        ColumnType::Time => format!("concat(replaceOne(toString({value}), ' ', 'T'), 'Z')"),
        ColumnType::Text => value,
        ColumnType::Number | ColumnType::Identifier | ColumnType::Boolean | ColumnType::Date => {
            format!("toString({value})")
        }
    }
}

/// Texts of earlier columns that cannot be cast, as JSON objects.
fn lost_texts(property: &str, columns: &[&Column]) -> Vec<String> {
    let Some((latest, earlier)) = columns.split_first() else {
        return Vec::new();
    };
    let key = serde_json::to_string(property).unwrap_or_default();
    earlier
        .iter()
        .filter(|column| column.kind != latest.kind)
        .map(|column| {
            let value = storage(column);
            format!(
                "if(isNotNull({value}) AND isNull({}), concat({}, toJSONString({}), \
                 '}}'), '{{}}')",
                cast(column, latest),
                literal(&format!("{{{key}:")),
                text(column),
            )
        })
        .collect()
}

fn extra(texts: &[String]) -> String {
    if texts.is_empty() {
        return "t._extra AS _extra".to_owned();
    }
    format!(
        "CAST(JSONMergePatch(toString(t._extra), {}) AS JSON) AS _extra",
        texts.join(", ")
    )
}

/// A column of the storage table, where a view's column may have its name.
fn storage(column: &Column) -> String {
    format!("t.{}", quoted(&column.name))
}

#[cfg(test)]
mod tests;
