//! The connection to ClickHouse: settings, timeouts, and one way to run a
//! statement.
//!
//! It must not know any table.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use clickhouse::{Client, Compression, insert_formatted::InsertFormatted, query::Query};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::error::{During as _, WarehouseError};

/// Time for one statement. An `ALTER` of a wide table waits for merges.
const STATEMENT_LIMIT: Duration = Duration::from_mins(1);

/// Connections idle for longer are closed: ClickHouse closes them after 3 s
/// or 10 s, and a request onto a dying one fails.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// Where the warehouse is and who we are.
#[derive(Debug, Clone)]
pub struct WarehouseSettings {
    /// `http://host:port` of the HTTP interface.
    pub url: String,
    /// A user who may create databases, tables and views.
    pub user: String,
    /// That user's password.
    pub password: SecretString,
    /// Whether blocks and answers are compressed on the way: it costs both
    /// sides more CPU than a loopback does.
    pub compress: bool,
}

/// A pool of connections.
#[derive(Clone)]
pub(crate) struct Session {
    client: Client,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(settings: &WarehouseSettings) -> Self {
        let mut connector = HttpConnector::new();
        // Without it a small insert waits 40 ms for a delayed acknowledgement.
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_keepalive(Some(Duration::from_mins(1)));
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        let compression = if settings.compress {
            Compression::Lz4
        } else {
            Compression::None
        };
        let client = Client::with_http_client(http)
            .with_url(settings.url.trim_end_matches('/'))
            .with_user(&settings.user)
            .with_password(settings.password.expose_secret())
            .with_compression(compression)
            .with_product_info("data-streams", env!("CARGO_PKG_VERSION"))
            // On by default; it would answer before the rows are stored.
            .with_setting("async_insert", "0")
            // By default 256 KiB, which the columns of a large portal exceed
            // with their comments.
            .with_setting("max_query_size", "16777216")
            .with_setting("wait_end_of_query", "1");
        Self { client }
    }

    /// For queries with rows.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A query of records, of which many may run at once: on one thread each,
    /// its answer included, which is sent while it is read and not when it has
    /// been written to a file; and planned in the old way. A page of 100 takes
    /// 3 ms of CPU so, and else 5.
    pub(crate) fn records(&self, statement: &str) -> Query {
        self.client
            .query_raw(statement)
            .with_setting("max_threads", "1")
            .with_setting("wait_end_of_query", "0")
            .with_setting("output_format_parallel_formatting", "0")
            .with_setting("enable_analyzer", "0")
    }

    /// Runs a statement without rows. Question marks in it are themselves.
    pub(crate) async fn execute(
        &self,
        action: &'static str,
        statement: &str,
    ) -> Result<(), WarehouseError> {
        self.execute_within(action, statement, STATEMENT_LIMIT)
            .await
    }

    /// The same for a statement that may take longer.
    pub(crate) async fn execute_within(
        &self,
        action: &'static str,
        statement: &str,
        limit: Duration,
    ) -> Result<(), WarehouseError> {
        let request = self.client.query_raw(statement).execute();
        bounded(action, Instant::now(), limit, request).await
    }

    /// Bounds a request in time and says what it was for.
    pub(crate) async fn within<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, WarehouseError> {
        bounded(action, Instant::now(), STATEMENT_LIMIT, request).await
    }

    /// An insert of Native blocks; the same token inserts once.
    pub(crate) fn insertion(&self, statement: &Bytes, token: &str) -> Insertion {
        let insert = self
            .client
            // It would be put into the URL, whose 64 KiB are too few for the
            // columns of some portals; it goes ahead of the data instead.
            .insert_formatted_with("")
            .with_setting("insert_deduplicate", "1")
            // So much is looked through for the statement's end; 800 columns
            // take less.
            .with_setting("max_query_size", "1048576")
            // All blocks become one part: a server that writes one when it has
            // 256 MiB, or a share of its memory, would keep the first of an
            // insert that is cut off.
            .with_setting("min_insert_block_size_bytes", "0")
            .with_setting("min_insert_block_size_rows", "1000000000")
            // The engine would put each block through a merge of its own, for
            // rows of one key within it. A read or a merge drops those too.
            .with_setting("optimize_on_insert", "0")
            .with_setting("insert_deduplication_token", token);
        Insertion {
            insert,
            statement: Some(statement.clone()),
            began: Instant::now(),
        }
    }
}

/// An insert under way. Dropped before its end, it inserts nothing.
pub(crate) struct Insertion {
    insert: InsertFormatted,
    /// Until it has been sent.
    statement: Option<Bytes>,
    began: Instant,
}

impl Insertion {
    /// Sends bytes of a block, compressed where that is asked for.
    pub(crate) async fn send(&mut self, part: Bytes) -> Result<(), WarehouseError> {
        for part in self.statement.take().into_iter().chain([part]) {
            let sent = self.insert.send(part);
            bounded(INSERT, self.began, STATEMENT_LIMIT, sent).await?;
        }
        Ok(())
    }

    /// Waits for the answer, and tells the time that all of it took.
    pub(crate) async fn end(self) -> Result<Duration, WarehouseError> {
        bounded(INSERT, self.began, STATEMENT_LIMIT, self.insert.end()).await?;
        Ok(self.began.elapsed())
    }
}

/// Bounds what began then in time.
async fn bounded<T>(
    action: &'static str,
    began: Instant,
    limit: Duration,
    request: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, WarehouseError> {
    match tokio::time::timeout_at(began + limit, request).await {
        Ok(outcome) => outcome.during(action),
        Err(_) => Err(WarehouseError::TimedOut {
            action,
            seconds: limit.as_secs(),
        }),
    }
}

const INSERT: &str = "insert rows";
