//! Sends all records that match as CSV, as ClickHouse writes it: a line of names, then one
//! line a record.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{RecordReader, export::SLOW_READER_SECONDS, heads::conditions};
use crate::{
    records::RecordQuery,
    warehouse::{
        error::{During as _, WarehouseError},
        names::{TableName, quoted},
        views,
    },
};

const ACTION: &str = "export records as CSV";

impl RecordReader<'_> {
    /// Sends the text in parts, until the end or until the receiver is dropped.
    pub(super) async fn csv<E: Send>(
        &self,
        query: &RecordQuery,
        out: &mpsc::Sender<Result<Bytes, E>>,
    ) -> Result<(), WarehouseError> {
        let mut text = self
            .session
            .records(&self.csv_statement(query))
            .with_setting("http_send_timeout", SLOW_READER_SECONDS)
            .with_setting("date_time_output_format", "iso")
            .with_setting("format_csv_null_representation", "")
            // The planner that is faster for pages does not read a view in the order of ids.
            .with_setting("enable_analyzer", "1")
            .fetch_bytes("CSVWithNames")
            .during(ACTION)?;
        while let Some(part) = text.next().await.during(ACTION)? {
            if out.send(Ok(part)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Selects from the view with the values in their types; of the properties those that
    /// the query names, in its order.
    fn csv_statement(&self, query: &RecordQuery) -> String {
        let own = [
            "object_id",
            "created_at",
            "updated_at",
            "synced_at",
            "archived",
            "deleted",
        ];
        let own = own.map(|name| {
            let shown = if name == "object_id" { "id" } else { name };
            format!("t._{name} AS {shown}")
        });
        let shown = views::shown(&self.layout);
        let all: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
        let names = match &query.properties {
            None => all,
            Some(named) => {
                let named = named.iter().map(String::as_str);
                named.filter(|it| all.contains(it)).collect()
            }
        };
        let properties = names.into_iter().map(|name| format!("t.{}", quoted(name)));
        let columns: Vec<_> = own.into_iter().chain(properties).collect();
        format!(
            "SELECT {} FROM {} AS t{} ORDER BY t._object_id",
            columns.join(", "),
            TableName::new(&query.destination, &views::all_of(self.object_type)),
            conditions(query, query.after, true)
        )
    }
}
