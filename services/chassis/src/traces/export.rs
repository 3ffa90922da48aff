//! Sends spans, in batches, in the background. What cannot be sent is dropped: traces never
//! hold up the work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;

use super::settings::{TraceArgs, headers};
use crate::{secret::Secret, with_causes};

/// How long a batch may take to be sent.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends the service's spans where an endpoint is set.
pub(super) fn provider(
    service: &'static str,
    args: &TraceArgs,
    runtime: &Handle,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(address) = args.address()? else {
        return Ok(None);
    };
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(args.tls()?)
        .timeout(LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("the HTTP client of traces cannot be built")?;
    let sender = Sender {
        http,
        headers: args.secret()?,
        runtime: runtime.clone(),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_endpoint(address)
        .with_timeout(LIMIT)
        .build()
        .context("the exporter of traces cannot be built")?;
    let name = args.service_name.as_deref();
    let name = name.filter(|it| !it.is_empty()).unwrap_or(service);
    let resource = Resource::builder()
        .with_service_name(name.to_owned())
        .with_attribute(KeyValue::new("service.namespace", "hubspot-streams"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::TraceIdRatioBased(args.share);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

/// Sends a batch on the runtime of the process: the exporter has a thread without one.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    headers: Option<Secret>,
    runtime: Handle,
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        if let Some(secret) = &self.headers {
            request.headers_mut().extend(headers(secret)?);
        }
        let request = reqwest::Request::try_from(request)?;
        let http = self.http.clone();
        let sent = self.runtime.spawn(async move {
            let answer = http.execute(request).await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            Ok::<_, reqwest::Error>((status, body))
        });
        let (status, body) = match sent.await? {
            Ok(answer) => answer,
            Err(error) => {
                self.note(Some(with_causes(&error.without_url())));
                return Err("the endpoint of traces does not answer".into());
            }
        };
        self.note((!status.is_success()).then(|| status.to_string()));
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

impl Sender {
    /// Logs a failure, but not each one that follows it.
    fn note(&self, failure: Option<String>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_failing => {
                tracing::warn!(reason, "traces cannot be sent; those of this time are lost");
            }
            None if was_failing => tracing::info!("traces are sent again"),
            _ => {}
        }
    }
}
