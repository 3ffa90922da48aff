//! Names a span to another process, as the W3C's `traceparent`.

use std::collections::HashMap;

use opentelemetry::{Context, propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::TARGET;

/// A span of a trace that is sent, as other processes know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceParent(String);

impl TraceParent {
    /// Name of the header of HTTP requests and of Kafka's messages.
    pub const HEADER: &str = "traceparent";

    /// The current span; `None` outside of a trace that is sent.
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// This span; `None` if its trace is not sent.
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let is_sent = {
            let of_span = context.span();
            let of_span = of_span.span_context();
            of_span.is_valid() && of_span.is_sampled()
        };
        if !is_sent {
            return None;
        }
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
        carrier.remove(Self::HEADER).map(Self)
    }

    /// What a header has; `None` if it names no span whose trace is sent.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let parent = Self(std::str::from_utf8(header).ok()?.to_owned());
        let context = parent.context();
        let is_sent = context.span().span_context().is_sampled();
        is_sent.then_some(parent)
    }

    /// What a message of Kafka has, where this process sends traces.
    pub fn of_message(message: &BorrowedMessage<'_>) -> Option<Self> {
        if !tracing::span_enabled!(target: TARGET, tracing::Level::INFO) {
            return None;
        }
        let headers = message.headers()?;
        let header = headers.iter().find(|it| it.key == Self::HEADER)?;
        Self::parse(header.value?)
    }

    /// The headers of a message with this one.
    pub fn headers(&self) -> OwnedHeaders {
        OwnedHeaders::new_with_capacity(1).insert(Header {
            key: Self::HEADER,
            value: Some(&self.0),
        })
    }

    /// Makes a span that has not begun a child of this one.
    pub fn adopt(&self, span: &Span) {
        // Fails where the span is not of a trace, as when traces are off.
        drop(span.set_parent(self.context()));
    }

    fn context(&self) -> Context {
        let carrier = HashMap::from([(Self::HEADER.to_owned(), self.0.clone())]);
        TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_a_span_whose_trace_is_sent_is_read_from_a_header() {
        let parse = |text: &str| TraceParent::parse(text.as_bytes()).map(|it| it.0);
        assert_eq!(parse(SENT).as_deref(), Some(SENT));
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-01",
            "canary",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(TraceParent::parse(b"\xff"), None);
    }

    fn with_sampler<T>(sampler: Sampler, what: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), what)
    }

    #[test]
    fn a_span_of_another_process_is_the_parent_of_one_here() {
        with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)), || {
            let span = tracing::info_span!(target: TARGET, "child");
            TraceParent::parse(SENT.as_bytes()).unwrap().adopt(&span);
            let child = TraceParent::of(&span).unwrap();
            let trace_id = |it: &str| it.split('-').nth(1).map(str::to_owned);
            assert_eq!(trace_id(&child.0), trace_id(SENT));
            assert_ne!(child.0, SENT, "another span");
            assert_eq!(span.in_scope(TraceParent::current), Some(child));
        });
    }

    #[test]
    fn there_is_nothing_to_name_where_traces_are_off_or_left_out() {
        let off = tracing::info_span!(target: TARGET, "off");
        TraceParent::parse(SENT.as_bytes()).unwrap().adopt(&off);
        assert_eq!(TraceParent::of(&off), None);
        assert_eq!(TraceParent::current(), None);
        with_sampler(Sampler::AlwaysOff, || {
            let left_out = tracing::info_span!(target: TARGET, "left out");
            assert_eq!(TraceParent::of(&left_out), None);
        });
    }
}
