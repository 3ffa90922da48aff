//! The connection to ClickHouse: its settings, time limits, and how statements
//! run.

use std::{fmt, future::Future, time::Duration};

use bytes::Bytes;
use chassis::{secret::Secret, tls::TlsConnector};
use clickhouse::{Client, Compression, insert_formatted::InsertFormatted, query::Query};
use hyper_tls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::error::{During as _, WarehouseError};

/// Time limit of a statement. An `ALTER` of a wide table waits for merges.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_mins(1);

/// Connections that are idle for longer are closed. ClickHouse closes them after
/// 3 s or 10 s, and a request on a connection being closed fails.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// Address and credentials of ClickHouse.
#[derive(Debug, Clone)]
pub struct WarehouseSettings {
    /// `http://host:port` or `https://host:port` of the HTTP interface.
    pub url: String,
    /// Whose certificates count for https.
    pub tls: TlsConnector,
    /// A user with the right to create databases, tables and views.
    pub user: String,
    /// That user's password.
    pub password: Option<Secret>,
    /// Whether blocks and answers are compressed. On a loopback connection the
    /// compression takes more CPU than it saves.
    pub compress: bool,
}

/// A pool of connections.
#[derive(Clone)]
pub(crate) struct Session {
    client: Client,
    password: Option<Secret>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(settings: &WarehouseSettings) -> Self {
        let mut connector = HttpConnector::new();
        // Otherwise a small insert waits 40 ms for a delayed acknowledgement.
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_keepalive(Some(Duration::from_mins(1)));
        connector.enforce_http(false);
        let tls = tokio_native_tls::TlsConnector::from(settings.tls.clone());
        let connector = HttpsConnector::from((connector, tls));
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
            .with_compression(compression)
            .with_product_info("data-streams", env!("CARGO_PKG_VERSION"))
            // On by default, which answers before the rows are stored.
            .with_setting("async_insert", "0")
            // The default of 256 KiB is too small for the columns of a large
            // portal with their comments.
            .with_setting("max_query_size", "16777216")
            // Where a cloud's load balancer sends a read to another replica than the write
            // before it; a single server ignores it.
            .with_setting("select_sequential_consistency", "1")
            .with_setting("wait_end_of_query", "1")
            // The answer that is waited for is kept in memory up to this size, and not in
            // a file, which a full disk refuses.
            .with_setting("buffer_size", "1048576");
        Self {
            client,
            password: settings.password.clone(),
        }
    }

    /// For queries that return rows; with the password as it is now.
    pub(crate) fn client(&self) -> Client {
        let password = self.password.as_ref().map(Secret::current);
        let password = password.as_ref().map_or("", |it| it.expose_secret());
        self.client.clone().with_password(password)
    }

    /// A query of records, of which many run at once. It runs on one thread,
    /// streams its answer instead of buffering it in a file, and uses the old
    /// planner. This cuts a page of 100 from 5 to 3 ms of CPU.
    pub(crate) fn records(&self, statement: &str) -> Query {
        self.client()
            .query_raw(statement)
            .with_setting("max_threads", "1")
            .with_setting("wait_end_of_query", "0")
            .with_setting("output_format_parallel_formatting", "0")
            .with_setting("enable_analyzer", "0")
    }

    /// Runs a statement that returns no rows. Question marks are not placeholders.
    pub(crate) async fn execute(
        &self,
        action: &'static str,
        statement: &str,
    ) -> Result<(), WarehouseError> {
        self.execute_within(action, statement, STATEMENT_LIMIT)
            .await
    }

    /// [`Self::execute`] with another time limit.
    pub(crate) async fn execute_within(
        &self,
        action: &'static str,
        statement: &str,
        limit: Duration,
    ) -> Result<(), WarehouseError> {
        let request = self.client().query_raw(statement).execute();
        bounded(action, Instant::now(), limit, request).await
    }

    /// Limits the time of a request, and adds `action` to its error.
    pub(crate) async fn within<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, WarehouseError> {
        self.fetch_within(action, STATEMENT_LIMIT, request).await
    }

    /// [`Self::within`] with another time limit.
    pub(crate) async fn fetch_within<T>(
        &self,
        action: &'static str,
        limit: Duration,
        request: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, WarehouseError> {
        bounded(action, Instant::now(), limit, request).await
    }

    /// Starts an insert of Native blocks. ClickHouse ignores a second insert with
    /// the same token; one without a token is never ignored.
    pub(crate) fn insertion(&self, statement: &Bytes, token: Option<&str>) -> Insertion {
        let mut insert = self
            .client()
            // The statement is sent before the data: in the URL it is limited to
            // 64 KiB, which the columns of some portals exceed.
            .insert_formatted_with("")
            .with_setting(
                "insert_deduplicate",
                if token.is_some() { "1" } else { "0" },
            )
            // ClickHouse searches this many bytes for the statement's end; 800
            // columns need less.
            .with_setting("max_query_size", "1048576")
            // Makes all blocks one part, so that the insert is atomic. By default
            // the server writes a part at 256 MiB or a share of its memory, and
            // keeps the first parts of an insert that breaks off.
            .with_setting("min_insert_block_size_bytes", "0")
            .with_setting("min_insert_block_size_rows", "1000000000")
            // Otherwise the engine merges rows of one key within each block.
            // Reads and later merges do that anyway.
            .with_setting("optimize_on_insert", "0");
        if let Some(token) = token {
            insert = insert.with_setting("insert_deduplication_token", token);
        }
        Insertion {
            insert,
            statement: Some(statement.clone()),
            began: Instant::now(),
        }
    }
}

/// An open insert. Inserts nothing when it is dropped before its end.
pub(crate) struct Insertion {
    insert: InsertFormatted,
    /// `None` once it has been sent.
    statement: Option<Bytes>,
    began: Instant,
}

impl Insertion {
    /// Sends bytes of a block.
    pub(crate) async fn send(&mut self, part: Bytes) -> Result<(), WarehouseError> {
        for part in self.statement.take().into_iter().chain([part]) {
            let sent = self.insert.send(part);
            bounded(INSERT, self.began, STATEMENT_LIMIT, sent).await?;
        }
        Ok(())
    }

    /// Waits for the answer; returns how long the whole insert took.
    pub(crate) async fn end(self) -> Result<Duration, WarehouseError> {
        bounded(INSERT, self.began, STATEMENT_LIMIT, self.insert.end()).await?;
        Ok(self.began.elapsed())
    }
}

/// Limits the time of a request, counted from `began`.
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
