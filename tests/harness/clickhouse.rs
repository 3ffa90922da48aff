//! Queries to ClickHouse over HTTP.

use std::fmt::Display;

use serde_json::Value;

use crate::{HANG_LIMIT, LastSeen, api::client, eventually};

/// A client of a ClickHouse server, as one of its users.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    url: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

impl ClickHouse {
    /// A client of the server on `port`, as `user`.
    pub fn new(port: u16, user: &str, password: &str) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}"),
            user: user.to_owned(),
            password: password.to_owned(),
            http: client(),
        }
    }

    /// Address of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a query; the error is ClickHouse's text.
    pub async fn try_query(&self, sql: &str) -> Result<String, String> {
        let response = self
            .http
            .post(&self.url)
            .basic_auth(&self.user, Some(&self.password))
            .body(sql.to_owned())
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let succeeded = response.status().is_success();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if succeeded { Ok(text) } else { Err(text) }
    }

    /// Runs a query that must succeed and returns the answer.
    pub async fn query(&self, sql: &str) -> String {
        self.try_query(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Waits until the answer of a query is `expected`. Until then it may fail: a table may
    /// not be there yet, or the server be away.
    pub async fn until(&self, sql: &str, expected: impl Display) {
        let expected = expected.to_string();
        let what = format!("{sql} is {expected}");
        let last = LastSeen::default();
        eventually(&what, HANG_LIMIT, async || {
            let answer = self.try_query(sql).await;
            let found = answer.as_ref().is_ok_and(|it| it.trim() == expected);
            last.set(answer.unwrap_or_else(|error| error));
            found.then_some(())
        })
        .await;
    }

    /// The first value of the answer, as a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let text = self.query(sql).await;
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{sql}: {text} is not a number"))
    }

    /// Rows as JSON objects.
    pub async fn rows(&self, sql: &str) -> Vec<Value> {
        let text = self.query(&format!("{sql} FORMAT JSONEachRow")).await;
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a row is JSON"))
            .collect()
    }
}
