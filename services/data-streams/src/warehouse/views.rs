//! The views that people query, made from the columns of a table.

use std::collections::HashSet;

use super::{
    layout::{Column, ColumnType, Layout},
    names::{TableName, literal, quoted},
    own_columns::{self, OwnColumn, Table, Value},
};

/// Name of the view with the archived and deleted objects too.
pub(super) fn all_of(object_type: &str) -> String {
    format!("{object_type}_all")
}

/// Statements that create both views of an object type.
pub(super) fn statements(destination: &str, object_type: &str, layout: &Layout) -> [String; 2] {
    let select = select(layout);
    let view = |name: &str, filter: &str| {
        format!(
            "CREATE OR REPLACE VIEW {} ({}) DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT \
             {} FROM {} AS t FINAL{filter}",
            TableName::new(destination, name),
            select.columns.join(", "),
            select.expressions.join(", "),
            TableName::storage(destination, object_type),
        )
    };
    [
        view(&all_of(object_type), ""),
        view(object_type, " WHERE NOT t._deleted AND NOT t._archived"),
    ]
}

/// What a view selects.
struct Select {
    /// Name, type and comment of each column.
    columns: Vec<String>,
    expressions: Vec<String>,
}

/// A column that is not a property, as a view declares it.
fn declaration(column: &OwnColumn, comment: &str) -> String {
    let name = column.name(Table::Wide);
    let kind = column.value.shown_as();
    format!("{name} {kind} COMMENT {}", literal(comment))
}

fn select(layout: &Layout) -> Select {
    let mut select = Select {
        columns: Vec::new(),
        expressions: Vec::new(),
    };
    let (extra_column, own): (Vec<_>, Vec<_>) = own_columns::of(Table::Wide)
        .filter_map(|column| Some((column, column.comment?)))
        .partition(|(column, _)| matches!(column.value, Value::Extra));
    for (column, comment) in own {
        select.columns.push(declaration(column, comment));
        let name = column.name(Table::Wide);
        select.expressions.push(format!("t.{name} AS {name}"));
    }
    let mut texts = Vec::new();
    for (name, columns) in shown(layout) {
        let Some(latest) = columns.first() else {
            continue;
        };
        let (name, kind) = (quoted(&name), latest.kind.sql());
        let comment = literal(&latest.note.text());
        select
            .columns
            .push(format!("{name} {kind} COMMENT {comment}"));
        select
            .expressions
            .push(format!("{} AS {name}", current_value(&columns)));
        texts.extend(lost_texts(&latest.note.property, &columns));
    }
    for (column, comment) in extra_column {
        select.columns.push(declaration(column, comment));
        select.expressions.push(extra(&texts));
    }
    select
}

/// The properties as views show them: name and columns, the latest first. The storage
/// column may have another name than the property. A view uses HubSpot's name, unless
/// it begins with an underscore or is taken.
pub(super) fn shown(layout: &Layout) -> Vec<(String, Vec<&Column>)> {
    let mut taken = HashSet::new();
    let mut shown = Vec::new();
    for (property, columns) in layout.properties() {
        let Some(latest) = columns.first() else {
            continue;
        };
        let name = if property.starts_with('_') || taken.contains(property) {
            latest.name.as_str()
        } else {
            property
        };
        taken.insert(name.to_owned());
        shown.push((name.to_owned(), columns));
    }
    shown
}

/// The value in the latest type: of the latest column, otherwise cast from the
/// earlier ones. A row has its value in the column that was the latest when the
/// row was written.
fn current_value(columns: &[&Column]) -> String {
    let Some((latest, earlier)) = columns.split_first() else {
        return "NULL".to_owned();
    };
    let value = storage(latest);
    if earlier.is_empty() {
        return value;
    }
    let mut values = vec![value];
    if latest.kind == ColumnType::Text {
        // A value that did not fit the earlier type is a valid text.
        let name = literal(&latest.note.property);
        values.push(format!(
            "nullIf(JSONExtractString(toString(t._extra), {name}), '')"
        ));
    }
    values.extend(earlier.iter().map(|column| cast(column, latest)));
    format!("coalesce({})", values.join(", "))
}

/// Casts a value to another type; NULL where that would be a guess. For example,
/// a number does not become a time, as its unit is not known.
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

/// The value's text, in HubSpot's notation.
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

/// The texts of earlier columns that cannot be cast, as JSON objects.
fn lost_texts(property: &str, columns: &[&Column]) -> Vec<String> {
    let Some((latest, earlier)) = columns.split_first() else {
        return Vec::new();
    };
    // A text can always be written as JSON.
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

/// A column of the storage table. A column of the view may have the same name.
fn storage(column: &Column) -> String {
    format!("t.{}", quoted(&column.name))
}

#[cfg(test)]
mod tests;
