//! How ClickHouse fails, and what the caller should do.

use crate::ingest::StoreErrorKind;

/// A failure of the warehouse.
#[derive(Debug, thiserror::Error)]
pub enum WarehouseError {
    /// ClickHouse answered with an exception, or did not answer.
    #[error("ClickHouse: {action}")]
    ClickHouse {
        /// What the statement was for.
        action: &'static str,
        /// The client's error.
        #[source]
        source: clickhouse::error::Error,
    },
    /// A statement took longer than its limit.
    #[error("ClickHouse: {action} took longer than {seconds} s")]
    TimedOut {
        /// What the statement was for.
        action: &'static str,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// A name cannot be a database or an object type.
    #[error("`{name}` cannot be a {what}")]
    Name {
        /// The name.
        name: String,
        /// What it should name.
        what: &'static str,
    },
    /// The destination has the data of another account.
    #[error(
        "database `{database}` has the data of account {owner}, not of {portal_id}: give the \
         connection another destination, or purge those data with DELETE \
         /v1/connections/{connection}?purge=true"
    )]
    Taken {
        /// The destination.
        database: String,
        /// HubSpot's id of the account whose data it has.
        owner: i64,
        /// The connection that brought them.
        connection: String,
        /// HubSpot's id of the account that is refused.
        portal_id: i64,
    },
    /// A name is in use by a table or view that is not one of ours.
    #[error(
        "{table} is not of this program: give the connection another destination, or rename \
         that table"
    )]
    Foreign {
        /// The table or view.
        table: String,
    },
    /// What is stored of an object is not JSON.
    #[error("the stored properties of object {object_id} cannot be read")]
    Properties {
        /// HubSpot's id of the object.
        object_id: u64,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The answer to a question in SQL has another format, as the question asks for it.
    #[error("the answer is not in the format that was asked for: leave FORMAT out of the query")]
    AnswerFormat {
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The answer to a question in SQL is larger than is read.
    #[error("the answer has more than {bytes} bytes: ask for fewer rows or columns")]
    AnswerSize {
        /// The limit, in bytes.
        bytes: usize,
    },
    /// `changes` lacks the version of an object that the wide table has.
    #[error("the properties of object {object_id} are not in `changes`")]
    NoProperties {
        /// HubSpot's id of the object.
        object_id: u64,
    },
    /// `changes` may lack versions until it is copied.
    #[error("`changes` is being copied into its new order")]
    Moving,
    /// Another instance has taken a rebuild over.
    #[error("another instance carries the rebuild out")]
    Superseded,
    /// A migration was applied with another text than this program has.
    #[error("migration {version} was applied with another text")]
    Migration {
        /// Its number.
        version: u32,
    },
}

impl WarehouseError {
    /// What the caller should do.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::TimedOut { .. } | Self::NoProperties { .. } | Self::Moving => {
                StoreErrorKind::Unavailable
            }
            Self::Taken { .. } | Self::Foreign { .. } => StoreErrorKind::NotOurs,
            Self::Name { .. } | Self::AnswerFormat { .. } | Self::AnswerSize { .. } => {
                StoreErrorKind::Poison
            }
            Self::Properties { .. } | Self::Superseded | Self::Migration { .. } => {
                StoreErrorKind::Fatal
            }
            Self::ClickHouse { source, .. } => match code(source) {
                Some(code) => kind_of_code(code),
                None => without_code(source),
            },
        }
    }
}

impl WarehouseError {
    /// Why ClickHouse refuses a question that a person wrote; `None` where it is not the
    /// question that fails.
    pub(crate) fn refusal_of_question(&self) -> Option<String> {
        let (text, code) = match self {
            Self::AnswerFormat { .. } | Self::AnswerSize { .. } | Self::TimedOut { .. } => {
                return Some(self.to_string());
            }
            Self::ClickHouse { source, .. } => match source {
                clickhouse::error::Error::BadResponse(text) => (text, code(source)?),
                clickhouse::error::Error::InvalidParams(_) => return Some(source.to_string()),
                _ => return None,
            },
            _ => return None,
        };
        (!OF_THE_SERVER.contains(&code)).then(|| text.chars().take(REFUSAL_CHARS).collect())
    }
}

/// Codes that say nothing of a question: a wrong login, too many queries at a time, and
/// failures of the disk.
const OF_THE_SERVER: [u32; 9] = [74, 75, 76, 192, 193, 194, 202, 243, 516];

/// How many characters of ClickHouse's message are repeated.
const REFUSAL_CHARS: usize = 2_000;

/// Classifies by ClickHouse's error code, as the HTTP status is too coarse.
/// With an unknown code the target waits and is tried again, so that an unforeseen
/// failure neither drops a row nor holds up the others.
fn kind_of_code(code: u32) -> StoreErrorKind {
    match code {
        // NOT_FOUND_COLUMN_IN_BLOCK, NO_SUCH_COLUMN_IN_TABLE,
        // UNKNOWN_IDENTIFIER, TYPE_MISMATCH, UNKNOWN_TABLE, UNKNOWN_DATABASE.
        10 | 16 | 47 | 53 | 60 | 81 => StoreErrorKind::SchemaChanged,
        // CANNOT_PARSE_TEXT, CANNOT_PARSE_QUOTED_STRING,
        // CANNOT_READ_ALL_DATA, INCORRECT_DATA, TOO_LARGE_STRING_SIZE,
        // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE.
        6 | 26 | 33 | 117 | 131 | 321 => StoreErrorKind::Poison,
        // SYNTAX_ERROR, READONLY, AUTHENTICATION_FAILED,
        // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD,
        // UNKNOWN_SETTING, SUPPORT_IS_DISABLED.
        62 | 115 | 164 | 192 | 193 | 194 | 344 | 516 => StoreErrorKind::Fatal,
        // CANNOT_READ_FROM_FILE_DESCRIPTOR, CANNOT_WRITE_TO_FILE_DESCRIPTOR,
        // CANNOT_OPEN_FILE, CANNOT_CLOSE_FILE, CANNOT_FSYNC, TIMEOUT_EXCEEDED,
        // CANNOT_ALLOCATE_MEMORY, TOO_MANY_SIMULTANEOUS_QUERIES, SOCKET_TIMEOUT,
        // NETWORK_ERROR, ABORTED, MEMORY_LIMIT_EXCEEDED, NOT_ENOUGH_SPACE,
        // QUERY_WAS_CANCELLED, CANNOT_SCHEDULE_TASK, and those of the system's
        // libraries: they say nothing about one table.
        74 | 75 | 76 | 77 | 84 | 159 | 173 | 202 | 209 | 210 | 236 | 241 | 243 | 394 | 439
        | 999 | 1000 | 1001 | 1002 => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Target,
    }
}

/// Classifies an error without a code: of the network, or of our decoding.
fn without_code(error: &clickhouse::error::Error) -> StoreErrorKind {
    use clickhouse::error::Error as Client;
    match error {
        Client::Network(_)
        | Client::TimedOut
        | Client::BadResponse(_)
        | Client::Decompression(_)
        | Client::NotEnoughData
        | Client::Other(_) => StoreErrorKind::Unavailable,
        Client::SchemaMismatch(_) | Client::InvalidColumnsHeader(_) => {
            StoreErrorKind::SchemaChanged
        }
        // The client may add variants; the other ones are mistakes in a statement.
        _ => StoreErrorKind::Fatal,
    }
}

/// Extracts the number of `Code: 60. DB::Exception: …`.
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

/// Adds to a client's error what the statement was for.
pub(super) trait During<T> {
    /// Wraps the error.
    fn during(self, action: &'static str) -> Result<T, WarehouseError>;
}

impl<T> During<T> for Result<T, clickhouse::error::Error> {
    fn during(self, action: &'static str) -> Result<T, WarehouseError> {
        self.map_err(|source| WarehouseError::ClickHouse { action, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> WarehouseError {
        WarehouseError::ClickHouse {
            action: "test",
            source: clickhouse::error::Error::BadResponse(text.to_owned()),
        }
    }

    #[test]
    fn the_error_code_decides_what_to_do() {
        for (text, kind) in [
            (
                "Code: 16. DB::Exception: No such column x",
                StoreErrorKind::SchemaChanged,
            ),
            (
                "Code: 60. DB::Exception: Unknown table",
                StoreErrorKind::SchemaChanged,
            ),
            (
                "Code: 117. DB::Exception: Cannot parse JSON",
                StoreErrorKind::Poison,
            ),
            (
                "Code: 516. DB::Exception: Authentication failed",
                StoreErrorKind::Fatal,
            ),
            (
                "Code: 241. DB::Exception: Memory limit",
                StoreErrorKind::Unavailable,
            ),
            (
                "Code: 252. DB::Exception: Too many parts",
                StoreErrorKind::Target,
            ),
            (
                "Code: 99999. DB::Exception: new in a later version",
                StoreErrorKind::Target,
            ),
            ("502 Bad Gateway", StoreErrorKind::Unavailable),
        ] {
            assert_eq!(answered(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_network_error_is_retried() {
        let error = WarehouseError::ClickHouse {
            action: "test",
            source: clickhouse::error::Error::Network("refused".into()),
        };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
}
