//! The columns that are not properties, in one table: table definitions, their
//! upgrades, blocks and views are made from it.

use std::collections::HashSet;

use super::names::quoted;
use crate::ingest::Row;

/// A column that is not a property.
pub(super) struct OwnColumn {
    /// Its name in `changes`. In a wide table it has an underscore before it.
    name: &'static str,
    tables: Tables,
    pub(super) value: Value,
    /// Its comment in all views; `None` where some do not have it.
    pub(super) comment: Option<&'static str>,
    /// Its comment in the views of versions, where only they have it.
    pub(super) comment_of_versions: Option<&'static str>,
}

/// The tables that have a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    Both,
    Only(Table),
}

/// A kind of storage table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The current version of each object of one type.
    Wide,
    /// Every version of every object.
    Changes,
}

/// The type of a column, and where its value comes from.
pub(super) enum Value {
    /// An id, a sequence or the bits of a hash: `UInt64`. Negative ids and sequences
    /// were refused before.
    Unsigned(fn(&Row<'_>) -> i64),
    OptionalUnsigned(fn(&Row<'_>) -> Option<i64>),
    Version(fn(&Row<'_>) -> u128),
    Partition(fn(&Row<'_>) -> i32),
    Offset(fn(&Row<'_>) -> i64),
    /// In ms since 1970.
    Time(fn(&Row<'_>) -> i64),
    Bool(fn(&Row<'_>) -> bool),
    /// A text that many rows have.
    Name(for<'r> fn(&'r Row<'r>) -> &'r str),
    /// The texts of values without a column, as a JSON object.
    Extra,
    /// All properties, as the text of a JSON object.
    Properties,
}

/// All of them, in the order of the tables and of the views. `_extra` is the last
/// column of a view.
pub(super) const OWN_COLUMNS: &[OwnColumn] = &[
    own("object_id", Value::Unsigned(|row| row.record.object_id))
        .shown("HubSpot's id of the object"),
    own("portal_id", Value::Unsigned(|row| row.record.portal_id))
        .shown("HubSpot's id of the account"),
    own("created_at", Value::Time(|row| row.record.created_at))
        .shown("when HubSpot created the object"),
    own("updated_at", Value::Time(|row| row.record.updated_at))
        .shown("when HubSpot last changed it"),
    own("synced_at", Value::Time(|row| row.record.fetched_at)).shown("when the worker fetched it"),
    own("archived", Value::Bool(|row| row.record.archived)).shown("in HubSpot's recycle bin"),
    own("deleted", Value::Bool(|row| row.record.deleted))
        .shown("erased, merged into another object, or gone from HubSpot"),
    own("run_id", Value::Name(|row| row.record.run_id)).shown("the run that fetched it"),
    own("connection", Value::Name(|row| row.record.connection))
        .shown_of_versions("the connection whose worker fetched it"),
    // Made by `schemas::version`; of two rows of an object the larger counts.
    own("version", Value::Version(|row| row.record.version())),
    own(
        "fetch_sequence",
        Value::Unsigned(|row| row.record.fetch_sequence),
    ),
    own("topic", Value::Name(|row| row.topic)).shown_of_versions("its topic in Kafka"),
    own("partition", Value::Partition(|row| row.partition))
        .shown_of_versions("its partition in Kafka"),
    own("offset", Value::Offset(|row| row.offset)).shown_of_versions("its offset in Kafka"),
    own(
        "merged_into",
        Value::OptionalUnsigned(|row| row.record.merged_into),
    )
    .shown("the object that it was merged into"),
    own(
        "content_hash",
        Value::Unsigned(|row| row.record.content_hash),
    )
    .shown("the same content has the same hash; 0 where it is not known"),
    own("extra", Value::Extra).only(Table::Wide).shown(
        "by property, the texts of values that have no column, do not fit the column's type, or \
         would print differently",
    ),
    own("object_type", Value::Name(|row| row.record.object_type)).only(Table::Changes),
    own("reason", Value::Name(|row| row.record.reason))
        .only(Table::Changes)
        .shown_of_versions("why that run was made"),
    own("properties", Value::Properties)
        .only(Table::Changes)
        .shown_of_versions("all properties as HubSpot sent them: a JSON object of texts"),
];

const fn own(name: &'static str, value: Value) -> OwnColumn {
    OwnColumn {
        name,
        tables: Tables::Both,
        value,
        comment: None,
        comment_of_versions: None,
    }
}

impl OwnColumn {
    const fn only(mut self, table: Table) -> Self {
        self.tables = Tables::Only(table);
        self
    }

    const fn shown(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }

    const fn shown_of_versions(mut self, comment: &'static str) -> Self {
        self.comment_of_versions = Some(comment);
        self
    }

    /// Its name in a table of this kind, or in a view of the wide one.
    pub(super) fn name(&self, table: Table) -> String {
        match table {
            Table::Wide => format!("_{}", self.name),
            Table::Changes => self.name.to_owned(),
        }
    }
}

impl Value {
    /// Its type in blocks.
    pub(super) const fn sql(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "UInt64",
            Self::OptionalUnsigned(_) => "Nullable(UInt64)",
            Self::Version(_) => "UInt128",
            Self::Partition(_) => "Int32",
            Self::Offset(_) => "Int64",
            Self::Time(_) => "DateTime64(3, 'UTC')",
            Self::Bool(_) => "Bool",
            // ClickHouse parses the texts of `_extra`.
            Self::Name(_) | Self::Extra | Self::Properties => "String",
        }
    }

    /// Its type in views.
    pub(super) const fn shown_as(&self) -> &'static str {
        match self {
            Self::Extra => self.stored_as(),
            _ => self.sql(),
        }
    }

    /// Its type in storage tables.
    const fn stored_as(&self) -> &'static str {
        match self {
            Self::Name(_) => "LowCardinality(String)",
            Self::Extra => "JSON",
            _ => self.sql(),
        }
    }
}

/// The columns of a kind of table.
pub(super) fn of(table: Table) -> impl Iterator<Item = &'static OwnColumn> {
    OWN_COLUMNS
        .iter()
        .filter(move |column| match column.tables {
            Tables::Both => true,
            Tables::Only(only) => only == table,
        })
}

/// The definitions of the columns for `CREATE TABLE`.
pub(super) fn definitions(table: Table) -> String {
    let columns: Vec<_> = of(table).map(|column| definition(column, table)).collect();
    columns.join(",\n    ")
}

/// The parts of an `ALTER` for the columns that a table lacks, which an earlier
/// version has made.
pub(super) fn missing<'a>(table: Table, present: impl Iterator<Item = &'a str>) -> Vec<String> {
    let present: HashSet<_> = present.collect();
    of(table)
        .filter(|column| !present.contains(column.name(table).as_str()))
        .map(|column| format!("ADD COLUMN IF NOT EXISTS {}", definition(column, table)))
        .collect()
}

fn definition(column: &OwnColumn, table: Table) -> String {
    let name = quoted(&column.name(table));
    format!("{name} {}", column.value.stored_as())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_an_earlier_version_gets_the_columns_that_it_lacks() {
        let names: Vec<_> = of(Table::Wide)
            .map(|it| it.name(Table::Wide))
            .filter(|name| name != "_content_hash")
            .collect();
        let present = names.iter().map(String::as_str).chain(["email"]);
        assert_eq!(
            missing(Table::Wide, present),
            ["ADD COLUMN IF NOT EXISTS `_content_hash` UInt64"]
        );
    }

    #[test]
    fn only_changes_has_the_object_type_and_only_a_wide_table_the_extra_column() {
        let wide = definitions(Table::Wide);
        let changes = definitions(Table::Changes);
        assert!(!wide.contains("`_object_type`") && wide.contains("`_extra` JSON"));
        assert!(changes.contains("`object_type` LowCardinality(String)"));
        assert!(!changes.contains("extra"));
    }
}
