//! Settings of traces, by OpenTelemetry's own names.

use std::path::PathBuf;

use anyhow::Context as _;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    secret::Secret,
    tls::{self, TlsConnector},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// Where traces go.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceArgs {
    /// Where traces go, by OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is
    /// added. Without it there are none.
    #[arg(long = "otel-exporter-otlp-endpoint", env = ENDPOINT, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Headers for it, such as a login: `name=value,name=value`.
    #[arg(long = "otel-exporter-otlp-headers", env = HEADERS, hide_env_values = true)]
    pub headers: Option<SecretString>,

    /// A file with these headers, which is read again when it is replaced.
    #[arg(
        long = "otel-exporter-otlp-headers-file",
        env = "OTEL_EXPORTER_OTLP_HEADERS_FILE",
        value_name = "FILE"
    )]
    pub headers_file: Option<PathBuf>,

    /// PEM file with the certificate authorities of an endpoint with https. Without it
    /// those of the system count.
    #[arg(long = "otel-exporter-otlp-certificate", env = CERTIFICATE, value_name = "FILE")]
    pub certificate: Option<PathBuf>,

    /// The service's name in traces, if not the program's.
    #[arg(
        long = "otel-service-name",
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME"
    )]
    pub service_name: Option<String>,

    /// The share of the traces begun here that is sent, from 0 to 1. A trace that a caller
    /// began is sent if the caller sends it.
    #[arg(long = "otel-traces-sampler-arg", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    pub share: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.trim().parse().ok();
    share
        .filter(|it| (0.0..=1.0).contains(it))
        .ok_or_else(|| "a number from 0 to 1, such as 0.1".to_owned())
}

impl TraceArgs {
    /// The address that spans are sent to; `None` where there are no traces.
    pub(super) fn address(&self) -> anyhow::Result<Option<Url>> {
        let given = self.endpoint.as_deref();
        let Some(text) = given.map(str::trim).filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let wrong = || format!("{ENDPOINT} has to be a URL such as http://127.0.0.1:4318");
        let mut url: Url = text.parse().with_context(wrong)?;
        anyhow::ensure!(matches!(url.scheme(), "http" | "https"), wrong());
        // INVARIANT: a URL with one of these schemes has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        Ok(Some(url))
    }

    /// What the headers are read from.
    pub(super) fn secret(&self) -> anyhow::Result<Option<Secret>> {
        let value = self.headers.as_ref();
        let value = value.filter(|it| !it.expose_secret().is_empty());
        let file = self.headers_file.as_deref();
        Ok(Secret::given(HEADERS, value, file)?)
    }

    pub(super) fn tls(&self) -> Result<TlsConnector, tls::TlsError> {
        tls::connector(CERTIFICATE, self.certificate.as_deref())
    }

    /// What is wrong with settings that could be parsed.
    pub fn problems(&self) -> Vec<anyhow::Error> {
        let headers = self.secret().and_then(|it| match it {
            Some(secret) => headers(&secret).map(drop),
            None => Ok(()),
        });
        [
            self.address().err(),
            headers.err(),
            self.tls().err().map(Into::into),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The headers as they are now. An error never has their values.
pub(super) fn headers(secret: &Secret) -> anyhow::Result<HeaderMap> {
    let text = secret.current();
    let mut headers = HeaderMap::new();
    let pairs = text.expose_secret().split(',').map(str::trim);
    for pair in pairs.filter(|it| !it.is_empty()) {
        let parsed = pair.split_once('=').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
            let mut value: HeaderValue = value.ok()?.parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) = parsed.with_context(|| {
            format!("{HEADERS} has to be name=value,name=value, with values encoded as in URLs")
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Settings {
        #[command(flatten)]
        traces: TraceArgs,
    }

    fn parse(arguments: &[&str]) -> TraceArgs {
        let arguments = [&["test"], arguments].concat();
        Settings::try_parse_from(arguments).unwrap().traces
    }

    #[test]
    fn the_endpoint_is_a_base_and_none_means_no_traces() {
        for (given, address) in [
            ("", None),
            (
                "http://collector:4318",
                Some("http://collector:4318/v1/traces"),
            ),
            (
                "https://a.example/otlp/",
                Some("https://a.example/otlp/v1/traces"),
            ),
        ] {
            let args = parse(&["--otel-exporter-otlp-endpoint", given]);
            let found = args.address().unwrap().map(String::from);
            assert_eq!(found.as_deref(), address, "{given}");
            assert!(args.problems().is_empty());
        }
        assert_eq!(parse(&[]).address().unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_setting_and_without_values() {
        for (arguments, part) in [
            (
                ["--otel-exporter-otlp-endpoint", "collector:4318"],
                ENDPOINT,
            ),
            (["--otel-exporter-otlp-endpoint", "::"], ENDPOINT),
            (["--otel-exporter-otlp-headers", "canary"], HEADERS),
            (["--otel-exporter-otlp-headers", "a b=canary"], HEADERS),
            (
                ["--otel-exporter-otlp-certificate", "/nowhere"],
                CERTIFICATE,
            ),
        ] {
            let problems = parse(&arguments).problems();
            let [problem] = problems.as_slice() else {
                panic!("{arguments:?}: {problems:?}");
            };
            let text = format!("{problem:#}");
            assert!(text.contains(part) && !text.contains("canary"), "{text}");
        }
        for part in ["-0.1", "1.1", "all", "NaN"] {
            let given = format!("--otel-traces-sampler-arg={part}");
            assert!(
                Settings::try_parse_from(["test", &given]).is_err(),
                "{part}"
            );
        }
    }

    #[test]
    fn headers_are_decoded_and_hidden() {
        let args = parse(&[
            "--otel-exporter-otlp-headers",
            "authorization=Basic%20YTpi, x-team = a",
        ]);
        let headers = headers(&args.secret().unwrap().unwrap()).unwrap();
        assert_eq!(headers["authorization"], "Basic YTpi");
        assert_eq!(headers["x-team"], "a");
        assert!(!format!("{headers:?}").contains("YTpi"));
    }
}
