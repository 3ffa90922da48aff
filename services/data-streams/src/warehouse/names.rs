//! Names of databases and tables, and names and texts quoted for SQL.

use std::fmt;

use schemas::AssociatedTypes;

use super::error::WarehouseError;

/// Database of the bookkeeping. No destination can have this name, as
/// destinations begin with a letter.
pub(super) const META: &str = "_hubspot_streams";

/// Table with all versions of all objects of a destination.
pub(super) const CHANGES: &str = "changes";

/// The table that becomes `changes` when that has the layout of an earlier version.
pub(super) const CHANGES_NEXT: &str = "changes__next";

/// The table that was `changes` until then.
pub(super) const CHANGES_FORMER: &str = "changes__former";

/// The view of all associations of a destination.
pub(super) const ASSOCIATIONS_VIEW: &str = "associations";

/// Suffix of the tables that a rebuild fills.
pub(super) const REBUILD_SUFFIX: &str = "__rebuild";

/// Suffix of the storage databases.
const RAW_SUFFIX: &str = "_raw";

/// Maximum length of a destination or an object type, in bytes: a file name may
/// have 255 bytes, and both get suffixes.
const NAME_LIMIT: usize = 120;

/// A table in its database. Displays as SQL that names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TableName {
    pub(super) database: String,
    pub(super) table: String,
}

impl TableName {
    /// A table or view in this database.
    pub(super) fn new(database: &str, table: &str) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
        }
    }

    /// A storage table of a destination.
    pub(super) fn storage(destination: &str, table: &str) -> Self {
        Self::new(&raw_database(destination), table)
    }

    /// A table of the bookkeeping.
    pub(super) fn bookkeeping(table: &str) -> Self {
        Self::new(META, table)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.database), quoted(&self.table))
    }
}

/// Database with the storage of a destination.
pub(super) fn raw_database(destination: &str) -> String {
    format!("{destination}{RAW_SUFFIX}")
}

/// The same as a SQL expression, for an expression that gives the destination.
pub(super) fn raw_database_of(expression: &str) -> String {
    format!("concat({expression}, '{RAW_SUFFIX}')")
}

/// Refuses a name that cannot be a destination. Names arrive over Kafka, so they
/// are not trusted.
pub(super) fn check_destination(name: &str) -> Result<(), WarehouseError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    check(name, "destination database", starts_well && is_plain(name))
}

/// Refuses a name that cannot be a stream: an object type, of which those of custom objects
/// look like `2-123456` or `p123_pets`, or two of them for associations.
pub(super) fn check_object_type(name: &str) -> Result<(), WarehouseError> {
    let reserved = [CHANGES, CHANGES_NEXT, CHANGES_FORMER, ASSOCIATIONS_VIEW];
    let is_type = |it: &str| is_plain(it) && it.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_allowed = match AssociatedTypes::of(name) {
        None => is_type(name) && !reserved.contains(&name),
        Some(types) => is_type(types.from) && is_type(types.to),
    };
    check(
        name,
        "object type",
        is_allowed && !name.ends_with(REBUILD_SUFFIX),
    )
}

fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check(name: &str, what: &'static str, is_allowed: bool) -> Result<(), WarehouseError> {
    if is_allowed && name.len() <= NAME_LIMIT {
        Ok(())
    } else {
        Err(WarehouseError::Name {
            name: name.to_owned(),
            what,
        })
    }
}

/// An identifier in backticks, with special characters escaped.
pub(super) fn quoted(name: &str) -> String {
    escaped(name, '`')
}

/// A string literal, with special characters escaped.
pub(super) fn literal(text: &str) -> String {
    escaped(text, '\'')
}

fn escaped(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_control_characters_are_escaped() {
        assert_eq!(quoted("a`b\\c"), "`a\\`b\\\\c`");
        assert_eq!(literal("it's\n\0"), "'it\\'s\\n\\0'");
        assert_eq!(
            TableName::storage("hubspot", "contacts").to_string(),
            "`hubspot_raw`.`contacts`"
        );
    }

    #[test]
    fn only_plain_names_are_accepted_as_databases_and_tables() {
        for name in ["contacts", "2-123456", "p12_pets", "contacts>2-123456"] {
            assert!(check_object_type(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "a b",
            "a;b",
            "changes",
            "changes__next",
            "x__rebuild",
            "_private",
            "é",
            "a.b",
            "../x",
            "associations",
            "contacts>",
            ">contacts",
            "a>b>c",
            "a>b__rebuild",
        ] {
            assert!(check_object_type(name).is_err(), "{name}");
        }
        assert!(check_destination("hubspot_eu").is_ok());
        assert!(check_destination("1hubspot").is_err());
        assert!(check_destination(META).is_err());
    }
}
