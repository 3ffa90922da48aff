//! What can go wrong with ClickHouse, and what to do about it.
//!
//! It must not know which statement failed or who sent it.

/// A failure of the warehouse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ClickHouse answered with an exception, or did not answer.
    #[error("ClickHouse: {action}")]
    ClickHouse {
        /// What was being done.
        action: &'static str,
        /// What the client says.
        #[source]
        source: clickhouse::error::Error,
    },
    /// A statement took longer than it may.
    #[error("ClickHouse: {action} took longer than {seconds} s")]
    TimedOut {
        /// What was being done.
        action: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// A name that no database, table or object type can have.
    #[error("`{name}` cannot be a {what}")]
    Name {
        /// The name.
        name: String,
        /// What it was meant for.
        what: &'static str,
    },
    /// The destination's tables were made for another connection.
    #[error("database `{database}` belongs to connection `{owner}`")]
    Taken {
        /// The destination.
        database: String,
        /// Whose it is.
        owner: String,
    },
    /// An applied migration is not the one that this program has.
    #[error("migration {version} was applied with another text")]
    Migration {
        /// Its number.
        version: u32,
    },
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The same statement again, later.
    Retry,
    /// Read the tables' columns again, then encode again.
    SchemaChanged,
    /// The rows themselves are refused; they go to the dead letters.
    Poison,
    /// Nothing will help before someone acts.
    Fatal,
}

impl Error {
    /// What to do about it: the one table of this module.
    pub fn advice(&self) -> Advice {
        match self {
            Self::TimedOut { .. } => Advice::Retry,
            Self::Name { .. } | Self::Taken { .. } | Self::Migration { .. } => Advice::Fatal,
            Self::ClickHouse { source, .. } => match code(source) {
                Some(code) => advice_for(code),
                None => without_code(source),
            },
        }
    }

    /// ClickHouse's own number of the failure.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::ClickHouse { source, .. } => code(source),
            Self::TimedOut { .. }
            | Self::Name { .. }
            | Self::Taken { .. }
            | Self::Migration { .. } => None,
        }
    }
}

/// By ClickHouse's own code, as the HTTP status says too little. Codes not
/// named here are retried: a row is never given up for a failure that nobody
/// has thought of.
fn advice_for(code: u32) -> Advice {
    match code {
        // NOT_FOUND_COLUMN_IN_BLOCK, NO_SUCH_COLUMN_IN_TABLE,
        // UNKNOWN_IDENTIFIER, TYPE_MISMATCH, UNKNOWN_TABLE, UNKNOWN_DATABASE.
        10 | 16 | 47 | 53 | 60 | 81 => Advice::SchemaChanged,
        // CANNOT_PARSE_TEXT, CANNOT_PARSE_QUOTED_STRING,
        // CANNOT_READ_ALL_DATA, INCORRECT_DATA, TOO_LARGE_STRING_SIZE,
        // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE.
        6 | 26 | 33 | 117 | 131 | 321 => Advice::Poison,
        // SYNTAX_ERROR, READONLY, ACCESS_DENIED, AUTHENTICATION_FAILED,
        // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD,
        // UNKNOWN_SETTING, SUPPORT_IS_DISABLED.
        62 | 115 | 164 | 192 | 193 | 194 | 344 | 497 | 516 => Advice::Fatal,
        _ => Advice::Retry,
    }
}

/// A failure before ClickHouse had a say: the network, or our own decoding.
fn without_code(error: &clickhouse::error::Error) -> Advice {
    use clickhouse::error::Error as Client;
    match error {
        Client::Network(_)
        | Client::TimedOut
        | Client::BadResponse(_)
        | Client::Decompression(_)
        | Client::NotEnoughData
        | Client::Other(_) => Advice::Retry,
        Client::SchemaMismatch(_) | Client::InvalidColumnsHeader(_) => Advice::SchemaChanged,
        // The client's list is open; the rest are defects of a statement.
        _ => Advice::Fatal,
    }
}

/// The number in `Code: 60. DB::Exception: …`.
fn code(error: &clickhouse::error::Error) -> Option<u32> {
    let clickhouse::error::Error::BadResponse(text) = error else {
        return None;
    };
    let rest = text
        .strip_prefix("Code: ")
        .or_else(|| text.split("Code: ").nth(1))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Says what was being done.
pub(crate) trait During<T> {
    /// Wraps the client's failure.
    fn during(self, action: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, clickhouse::error::Error> {
    fn during(self, action: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::ClickHouse { action, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Error {
        Error::ClickHouse {
            action: "test",
            source: clickhouse::error::Error::BadResponse(text.to_owned()),
        }
    }

    #[test]
    fn the_code_decides_what_to_do() {
        for (text, advice) in [
            (
                "Code: 16. DB::Exception: No such column x",
                Advice::SchemaChanged,
            ),
            (
                "Code: 60. DB::Exception: Unknown table",
                Advice::SchemaChanged,
            ),
            (
                "Code: 117. DB::Exception: Cannot parse JSON",
                Advice::Poison,
            ),
            (
                "Code: 516. DB::Exception: Authentication failed",
                Advice::Fatal,
            ),
            ("Code: 241. DB::Exception: Memory limit", Advice::Retry),
            ("Code: 252. DB::Exception: Too many parts", Advice::Retry),
            (
                "Code: 99999. DB::Exception: new in a later version",
                Advice::Retry,
            ),
            ("502 Bad Gateway", Advice::Retry),
        ] {
            assert_eq!(answered(text).advice(), advice, "{text}");
        }
    }

    #[test]
    fn a_network_failure_is_retried() {
        let error = Error::ClickHouse {
            action: "test",
            source: clickhouse::error::Error::Network("refused".into()),
        };
        assert_eq!(error.advice(), Advice::Retry);
        assert_eq!(error.code(), None);
    }
}
