//! Names and texts made safe for SQL, and the names of our databases.
//!
//! It must not know any statement.

use super::error::WarehouseError;

/// Database of our own bookkeeping. No destination can have this name, as
/// theirs begin with a letter.
pub(crate) const META: &str = "_hubspot_streams";

/// Table of all versions of all objects of a destination.
pub(crate) const CHANGES: &str = "changes";

/// Longest name of a destination or an object type. A file name on disk may
/// have 255 bytes, and both get suffixes.
const NAME_LIMIT: usize = 120;

/// Where the storage of a destination lives.
pub(crate) fn raw_database(destination: &str) -> String {
    format!("{destination}{RAW_SUFFIX}")
}

/// The same for the destination that an expression gives.
pub(crate) fn raw_database_of(expression: &str) -> String {
    format!("concat({expression}, '{RAW_SUFFIX}')")
}

const RAW_SUFFIX: &str = "_raw";

/// Refuses what cannot be a database or a table: names reach us over Kafka.
pub(crate) fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str, WarehouseError> {
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    // Object types of custom objects look like `2-123456` or `p123_pets`.
    let starts_well = starts_with_letter
        || (what == OBJECT_TYPE && name.starts_with(|c: char| c.is_ascii_digit()));
    let fits = name.len() <= NAME_LIMIT
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let reserved = what == OBJECT_TYPE && (name == CHANGES || name.ends_with(REBUILD_SUFFIX));
    if starts_well && fits && !reserved {
        Ok(name)
    } else {
        Err(WarehouseError::Name {
            name: name.to_owned(),
            what,
        })
    }
}

/// For [`checked`].
pub(crate) const OBJECT_TYPE: &str = "object type";
/// For [`checked`].
pub(crate) const DESTINATION: &str = "destination database";

/// Ends the names of tables that a rebuild fills.
pub(crate) const REBUILD_SUFFIX: &str = "__rebuild";

/// An identifier in backticks, whatever it contains.
pub(crate) fn quoted(name: &str) -> String {
    escaped(name, '`')
}

/// A string literal, whatever it contains.
pub(crate) fn literal(text: &str) -> String {
    escaped(text, '\'')
}

/// `database`.`table`.
pub(crate) fn qualified(database: &str, table: &str) -> String {
    format!("{}.{}", quoted(database), quoted(table))
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
            qualified("hubspot_raw", "contacts"),
            "`hubspot_raw`.`contacts`"
        );
    }

    #[test]
    fn only_plain_names_become_databases_and_tables() {
        for name in ["contacts", "2-123456", "p12_pets"] {
            assert!(checked(OBJECT_TYPE, name).is_ok(), "{name}");
        }
        for name in [
            "",
            "a b",
            "a;b",
            "changes",
            "x__rebuild",
            "_private",
            "é",
            "a.b",
            "../x",
        ] {
            assert!(checked(OBJECT_TYPE, name).is_err(), "{name}");
        }
        assert!(checked(DESTINATION, "hubspot_eu").is_ok());
        assert!(checked(DESTINATION, "1hubspot").is_err());
        assert!(checked(DESTINATION, META).is_err());
    }
}
