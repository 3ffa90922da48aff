//! Collects traces as OpenTelemetry's collector does: OTLP over HTTP.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::AUTHORIZATION,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tokio::task::JoinSet;

use crate::http;

/// A span, as a service sent it.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// The service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace_id: String,
    /// Its id.
    pub id: String,
    /// Id of its parent; empty where it has none.
    pub parent: String,
    /// Whether it failed.
    pub failed: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
}

/// What was sent.
type Spans = Arc<Mutex<Vec<CollectedSpan>>>;

/// A collector on a port of its own.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    spans: Spans,
    /// Aborted when the collector is dropped.
    _accepting: JoinSet<()>,
}

impl Collector {
    /// Takes spans from those who send this `Authorization`.
    pub async fn start(authorization: &'static str) -> Self {
        let spans = Spans::default();
        let collected = Arc::clone(&spans);
        let answer = move |request| take(Arc::clone(&collected), authorization, request);
        let (port, accepting) = http::serve(answer).await;
        Self {
            port,
            spans,
            _accepting: accepting,
        }
    }

    /// The endpoint, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All spans until now.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.lock().unwrap().clone()
    }
}

async fn take(
    spans: Spans,
    authorization: &str,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let given = request.headers().get(AUTHORIZATION);
    let is_allowed = given.is_some_and(|it| it == authorization);
    let is_traces = request.uri().path() == "/v1/traces";
    let mut answer = Response::new(Full::default());
    if !is_allowed || !is_traces {
        *answer.status_mut() = if is_traces {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::NOT_FOUND
        };
        return answer;
    }
    let body = request.into_body().collect().await.expect("a body");
    let export = ExportTraceServiceRequest::decode(body.to_bytes()).expect("OTLP");
    let mut spans = spans.lock().unwrap();
    for of_service in export.resource_spans {
        let resource = texts(&of_service.resource.unwrap_or_default().attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        let sent = of_service.scope_spans.into_iter().flat_map(|it| it.spans);
        spans.extend(sent.map(|span| collected(&service, &span)));
    }
    answer
}

fn collected(service: &str, span: &Span) -> CollectedSpan {
    CollectedSpan {
        service: service.to_owned(),
        name: span.name.clone(),
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        failed: span
            .status
            .as_ref()
            .is_some_and(|it| it.code() == SpanStatus::Error),
        attributes: texts(&span.attributes),
    }
}

fn hex(id: &[u8]) -> String {
    let mut text = String::new();
    for byte in id {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |it: &KeyValue| {
        let value = it.value.as_ref()?.value.as_ref()?;
        Some((it.key.clone(), text(value)))
    };
    attributes.iter().filter_map(pair).collect()
}
