//! A client of the schema registry's Confluent-compatible REST API.

use std::{fmt, path::PathBuf, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    secret::{Secret, SecretError},
    tls::{self, TlsError},
    values,
};

/// Where the registry is.
#[expect(
    clippy::struct_field_names,
    reason = "the names of the flags and variables"
)]
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RegistryArgs {
    /// Address of the schema registry's Confluent-compatible API.
    #[arg(long, env, default_value = "http://127.0.0.1:8081/apis/ccompat/v7", value_name = "URL", value_parser = values::http_address)]
    pub registry_url: String,

    /// User of the registry, where it wants one; the API key for Confluent Cloud.
    #[arg(long, env)]
    pub registry_user: Option<String>,

    /// That user's password.
    #[arg(long, env, hide_env_values = true)]
    pub registry_password: Option<SecretString>,

    /// A file with that password, which is read again when it is replaced.
    #[arg(long, env, value_name = "FILE")]
    pub registry_password_file: Option<PathBuf>,

    /// PEM file with the certificate authorities of a registry with https. Without it
    /// those of the system count.
    #[arg(long, env, value_name = "FILE")]
    pub registry_ca_file: Option<PathBuf>,
}

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum RegistryArgsError {
    /// The password cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A password without its user.
    #[error("REGISTRY_PASSWORD is set without REGISTRY_USER")]
    NoUser,
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client cannot be made.
    #[error("no client for the schema registry")]
    Client(#[source] reqwest::Error),
}

/// Why a request to the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer, or one that asks to retry later.
    #[error("schema registry does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The schema cannot read what older schemas wrote.
    #[error("schema of {subject} is not backward compatible with those in the registry: {reason}")]
    Incompatible {
        /// Subject of the schema.
        subject: String,
        /// The registry's message.
        reason: String,
    },
    /// The registry does not know the user, or the user may not do this.
    #[error(
        "schema registry refused {request}: {status} {reason}; check REGISTRY_USER and \
         REGISTRY_PASSWORD, and that this user may read and write schemas"
    )]
    Denied {
        /// The request.
        request: String,
        /// HTTP status, 401 or 403.
        status: u16,
        /// The registry's message.
        reason: String,
    },
    /// Any other refusal.
    #[error("schema registry refused {request}: {status} {reason}")]
    Refused {
        /// The request.
        request: String,
        /// HTTP status.
        status: u16,
        /// The registry's message.
        reason: String,
    },
}

impl RegistryError {
    /// Whether the same call can succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Incompatible { .. } | Self::Denied { .. } | Self::Refused { .. } => false,
        }
    }
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    url: String,
    login: Option<(String, Option<Secret>)>,
    http: reqwest::Client,
}

impl Registry {
    /// Creates a client. Sends nothing yet.
    pub fn new(args: &RegistryArgs) -> Result<Self, RegistryArgsError> {
        let file = args.registry_password_file.as_deref();
        let password = Secret::given("REGISTRY_PASSWORD", args.registry_password.as_ref(), file)?;
        let login = match (&args.registry_user, password) {
            (None, Some(_)) => return Err(RegistryArgsError::NoUser),
            (None, None) => None,
            (Some(user), password) => Some((user.clone(), password)),
        };
        let tls = tls::connector("REGISTRY_CA_FILE", args.registry_ca_file.as_deref())?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(RegistryArgsError::Client)?;
        Ok(Self {
            url: args.registry_url.trim_end_matches('/').to_owned(),
            login,
            http,
        })
    }

    /// Registers a schema under `BACKWARD_TRANSITIVE` and returns its id. The
    /// same schema always gets the same id.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        self.set_compatibility(subject).await?;
        let answer = self
            .post_schema(&format!("/subjects/{subject}/versions"), schema)
            .await
            .map_err(|error| match error {
                RegistryError::Refused {
                    status: 409 | 422,
                    reason,
                    ..
                } => RegistryError::Incompatible {
                    subject: subject.to_owned(),
                    reason,
                },
                other => other,
            })?;
        id_of(&answer).ok_or_else(|| RegistryError::Refused {
            request: format!("registration of {subject}"),
            status: 200,
            reason: "the answer has no id".to_owned(),
        })
    }

    /// The id of a registered schema; `None` if it is not registered.
    pub async fn registered(
        &self,
        subject: &str,
        schema: &str,
    ) -> Result<Option<u32>, RegistryError> {
        let answer = self
            .post_schema(&format!("/subjects/{subject}"), schema)
            .await;
        match answer {
            Ok(answer) => Ok(id_of(&answer)),
            Err(RegistryError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn post_schema(&self, path: &str, schema: &str) -> Result<Value, RegistryError> {
        let body = json!({"schemaType": "AVRO", "schema": schema});
        self.send(reqwest::Method::POST, path, Some(body)).await
    }

    /// Sets `BACKWARD_TRANSITIVE` where neither the subject nor the registry has a rule
    /// that implies it. A rule that somebody gave the subject stays. If two processes
    /// set it at the same time, the registry refuses one with 409; the rule is set then
    /// as well. A user without that right needs none: the schemas are compatible by
    /// their tests.
    async fn set_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        const ENOUGH: [&str; 2] = ["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"];
        let is_enough = |rule: &str| ENOUGH.contains(&rule);
        if let Some(rule) = self.compatibility(&format!("/config/{subject}")).await? {
            if !is_enough(&rule) {
                tracing::warn!(
                    subject,
                    rule,
                    "the subject has a compatibility rule of its own, which stays; \
                     BACKWARD_TRANSITIVE protects consumers"
                );
            }
            return Ok(());
        }
        let of_all = self.compatibility("/config").await?;
        if of_all.as_deref().is_some_and(is_enough) {
            return Ok(());
        }
        let set = self
            .send(
                reqwest::Method::PUT,
                &format!("/config/{subject}"),
                Some(json!({"compatibility": "BACKWARD_TRANSITIVE"})),
            )
            .await;
        match set {
            Ok(_) | Err(RegistryError::Refused { status: 409, .. }) => Ok(()),
            Err(RegistryError::Denied {
                status: 403,
                reason,
                ..
            }) => {
                tracing::warn!(subject, reason, "no right to set the compatibility rule");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The compatibility rule at a path; `None` where there is none of its own, or none
    /// may be seen.
    async fn compatibility(&self, path: &str) -> Result<Option<String>, RegistryError> {
        match self.send(reqwest::Method::GET, path, None).await {
            Ok(answer) => Ok(answer
                .get("compatibilityLevel")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)),
            Err(
                RegistryError::Refused { status: 404, .. }
                | RegistryError::Denied { status: 403, .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, RegistryError> {
        let unavailable = |error| RegistryError::Unavailable(Box::new(error));
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url))
            .header(
                "accept",
                "application/vnd.schemaregistry.v1+json, application/json",
            );
        if let Some((user, password)) = &self.login {
            let password = password.as_ref().map(Secret::current);
            let password = password.as_ref().map(ExposeSecret::expose_secret);
            request = request.basic_auth(user, password);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/vnd.schemaregistry.v1+json")
                .body(body.to_string());
        }
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let text = response.text().await.map_err(unavailable)?;
        if status.is_success() {
            return serde_json::from_str(&text)
                .map_err(|error| RegistryError::Unavailable(Box::new(error)));
        }
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(RegistryError::Unavailable(format!("{status}").into()));
        }
        let reason = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|body| Some(body.get("message")?.as_str()?.to_owned()))
            .unwrap_or(text);
        let request = format!("{method} {path}");
        let status = status.as_u16();
        Err(match status {
            401 | 403 => RegistryError::Denied {
                request,
                status,
                reason,
            },
            _ => RegistryError::Refused {
                request,
                status,
                reason,
            },
        })
    }
}

/// Where schemas are looked up by id.
#[async_trait]
pub trait SchemaSource: fmt::Debug + Send + Sync + 'static {
    /// The schema with this id; `None` where there is none.
    async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError>;
}

#[async_trait]
impl SchemaSource for Registry {
    async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let path = format!("/schemas/ids/{id}");
        match self.send(reqwest::Method::GET, &path, None).await {
            Ok(answer) => Ok(answer
                .get("schema")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)),
            Err(RegistryError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn id_of(answer: &Value) -> Option<u32> {
    u32::try_from(answer.get("id")?.as_u64()?).ok()
}
