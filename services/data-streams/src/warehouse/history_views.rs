//! The views of versions: every version of each object, and the objects as of a time.
//!
//! `changes` has the properties of a version as texts in one JSON object; a query reads
//! of it only the columns that it names.

use super::{
    layout::{Column, ColumnType, Layout},
    names::{CHANGES, TableName, literal, quoted},
    own_columns::{self, Table},
    views,
};

/// Name of the view with every version.
pub(super) fn history_of(object_type: &str) -> String {
    format!("{object_type}_history")
}

/// Name of the view with the objects as of a time.
pub(super) fn at_of(object_type: &str) -> String {
    format!("{object_type}_at")
}

/// Statements that create both views of an object type.
pub(super) fn statements(destination: &str, object_type: &str, layout: &Layout) -> [String; 2] {
    let changes = TableName::storage(destination, CHANGES);
    let of_type = format!("object_type = {}", literal(object_type));
    let columns: Vec<_> = columns(layout).collect();
    let view = |name: &str, more: Vec<Selected>, filter: &str| {
        let selected: Vec<_> = own().chain(more).chain(columns.iter().cloned()).collect();
        let declarations: Vec<_> = selected.iter().map(|it| it.declaration.as_str()).collect();
        let expressions: Vec<_> = selected.iter().map(|it| it.expression.as_str()).collect();
        format!(
            "CREATE OR REPLACE VIEW {} ({}) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT \
             {} FROM {changes} AS c FINAL WHERE c.{of_type}{filter}",
            TableName::new(destination, name),
            declarations.join(", "),
            expressions.join(", "),
        )
    };
    // Of each object the version that was the current one; later ones are not read.
    let at = format!(
        " AND NOT c.deleted AND NOT c.archived AND (c.object_id, c.fetch_sequence) IN (SELECT \
         object_id, argMax(fetch_sequence, version) FROM {changes} WHERE {of_type} AND updated_at \
         <= {{at:DateTime64(3, 'UTC')}} GROUP BY object_id)"
    );
    [
        view(&history_of(object_type), validity().into(), ""),
        view(&at_of(object_type), Vec::new(), &at),
    ]
}

/// A column of a view.
#[derive(Clone)]
struct Selected {
    /// Name, type and comment.
    declaration: String,
    expression: String,
}

/// The columns that are not properties.
fn own() -> impl Iterator<Item = Selected> {
    own_columns::of(Table::Changes).filter_map(|column| {
        let comment = column.comment.or(column.comment_of_versions)?;
        let (stored, name) = (column.name(Table::Changes), column.name(Table::Wide));
        let kind = column.value.sql();
        Some(Selected {
            declaration: format!("{name} {kind} COMMENT {}", literal(comment)),
            expression: format!("c.{} AS {name}", quoted(&stored)),
        })
    })
}

/// From when until when a version was the current one, by HubSpot's time.
fn validity() -> [Selected; 2] {
    let column = |name: &str, kind: &str, comment: &str, expression: &str| Selected {
        declaration: format!("{name} {kind} COMMENT {}", literal(comment)),
        expression: format!("{expression} AS {name}"),
    };
    [
        column(
            "_valid_from",
            "DateTime64(3, 'UTC')",
            "when HubSpot changed the object to this version",
            "c.updated_at",
        ),
        column(
            "_valid_to",
            "Nullable(DateTime64(3, 'UTC'))",
            "when HubSpot changed it to the next one; NULL for the current version",
            "leadInFrame(toNullable(c.updated_at)) OVER (PARTITION BY c.object_id ORDER BY \
             c.version ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)",
        ),
    ]
}

/// The columns of the properties, each in its latest type.
fn columns(layout: &Layout) -> impl Iterator<Item = Selected> {
    let shown = views::shown(layout).into_iter();
    shown.filter_map(|(name, columns)| {
        let latest = *columns.first()?;
        let (name, kind) = (quoted(&name), latest.kind.sql());
        let comment = literal(&latest.note.text());
        Some(Selected {
            declaration: format!("{name} {kind} COMMENT {comment}"),
            expression: format!("{} AS {name}", value(latest)),
        })
    })
}

/// The value of a property in its type; NULL where its text is no such value.
fn value(column: &Column) -> String {
    let property = literal(&column.note.property);
    let text = format!("JSONExtract(c.properties, {property}, 'Nullable(String)')");
    match column.kind {
        ColumnType::Text => text,
        ColumnType::Number => number(&text),
        ColumnType::Identifier => format!("toInt64OrNull({text})"),
        ColumnType::Boolean => format!(
            "CAST(multiIf(lower({text}) IN ('true', 'yes'), true, lower({text}) IN ('false', \
             'no'), false, NULL) AS Nullable(Bool))"
        ),
        ColumnType::Date => format!("toDate32({})", time(&text)),
        ColumnType::Time => time(&text),
    }
}

/// A double where no digit is lost: each of up to 15 digits is kept, more of them where
/// the double prints as the same text.
fn number(text: &str) -> String {
    let number = format!("toFloat64OrNull({text})");
    let digits = format!("trim(BOTH '0' FROM replaceRegexpAll({text}, '[^0-9]', ''))");
    format!(
        "if(match({text}, '^[-+.0-9eE]+$') AND isFinite({number}) AND (length({digits}) <= 15 OR \
         toString({number}) = {text}), {number}, NULL)"
    )
}

/// A time: a date, a time, or a number of epoch seconds or milliseconds, as
/// [`super::value::time`] tells them apart.
fn time(text: &str) -> String {
    let number = format!("toInt64OrNull({text})");
    format!(
        "if(match({text}, '^-?[0-9]+$'), fromUnixTimestamp64Milli({number} * if(abs({number}) <= \
         99999999999, 1000, 1), 'UTC'), parseDateTime64BestEffortOrNull({text}, 3, 'UTC'))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::layout::ColumnNote;

    #[test]
    fn versions_have_typed_properties_and_where_they_came_from() {
        let note = ColumnNote {
            property: "it's".to_owned(),
            ..ColumnNote::default()
        };
        let note = note.json();
        let layout = Layout::read([("it's", "Nullable(Date32)", note.as_str())], 0);
        let [history, at] = statements("hubspot", "contacts", &layout);
        assert!(
            history.contains("`hubspot`.`contacts_history`"),
            "{history}"
        );
        for part in [
            "c.`offset` AS _offset",
            "c.`properties` AS _properties",
            "_valid_to Nullable(DateTime64(3, 'UTC'))",
            "`it's` Nullable(Date32)",
            "JSONExtract(c.properties, 'it\\'s', 'Nullable(String)')",
        ] {
            assert!(history.contains(part), "{part} is missing in {history}");
        }
        assert!(!history.contains("deleted AND NOT"), "{history}");
        assert!(at.contains("`hubspot`.`contacts_at`") && !at.contains("_valid_to"));
        assert!(
            at.contains("updated_at <= {at:DateTime64(3, 'UTC')}"),
            "{at}"
        );
    }
}
