//! How clients of Kafka prove who they are and whom they trust: TLS, client
//! certificates, passwords and tokens.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::ValueEnum;
use rdkafka::ClientConfig;
use secrecy::{ExposeSecret as _, SecretString};

use crate::secret::{Secret, SecretError};

/// How clients of Kafka prove who they are and whom they trust.
#[expect(
    clippy::struct_field_names,
    reason = "the names of the flags and variables"
)]
#[derive(Debug, Clone, clap::Args)]
pub struct SecurityArgs {
    /// How to connect to Kafka.
    #[arg(long, env, default_value = "plaintext", value_enum, ignore_case = true)]
    pub kafka_security: Protocol,

    /// PEM file with the certificate authorities of the brokers. Without it those of
    /// the system count.
    #[arg(long, env, value_name = "FILE")]
    pub kafka_ca_file: Option<PathBuf>,

    /// PEM file with the certificate by which this client proves who it is (mTLS), and
    /// those that it was signed with.
    #[arg(long, env, value_name = "FILE")]
    pub kafka_certificate_file: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, env, value_name = "FILE")]
    pub kafka_key_file: Option<PathBuf>,

    /// Password of that key, where it is encrypted.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_key_password: Option<SecretString>,

    /// A file with that password.
    #[arg(long, env, value_name = "FILE")]
    pub kafka_key_password_file: Option<PathBuf>,

    /// How to log in where `KAFKA_SECURITY` is `sasl_ssl` or `sasl_plaintext`.
    #[arg(long, env, value_enum, ignore_case = true)]
    pub kafka_sasl_mechanism: Option<Mechanism>,

    /// User name for PLAIN and SCRAM; the client's id for OAUTHBEARER.
    #[arg(long, env)]
    pub kafka_username: Option<String>,

    /// Its password; the client's secret for OAUTHBEARER.
    #[arg(long, env, hide_env_values = true)]
    pub kafka_password: Option<SecretString>,

    /// A file with that password. Each client reads it when it is made.
    #[arg(long, env, value_name = "FILE")]
    pub kafka_password_file: Option<PathBuf>,

    /// Address that gives the tokens of OAUTHBEARER (`OpenID` Connect, grant of client
    /// credentials).
    #[arg(long, env, value_name = "URL")]
    pub kafka_token_url: Option<String>,

    /// Scope of those tokens, where the address wants one.
    #[arg(long, env)]
    pub kafka_token_scope: Option<String>,

    /// What to send to Kafka with a token, as `name=value`, comma-separated, such as
    /// `logicalCluster=lkc-1,identityPoolId=pool-1` for Confluent Cloud.
    #[arg(long, env)]
    pub kafka_token_extensions: Option<String>,
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither encrypted nor logged in.
    Plaintext,
    /// TLS; who the client is, its certificate says.
    Ssl,
    /// Logged in, but not encrypted.
    SaslPlaintext,
    /// TLS, and logged in.
    SaslSsl,
}

impl Protocol {
    fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn logs_in(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Mechanism {
    /// User and password.
    Plain,
    /// User and password, which is not sent.
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// User and password, which is not sent.
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token that another server gives.
    Oauthbearer,
}

/// Why the settings are refused. Never names a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A secret cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A setting needs another one.
    #[error("{reason}: set {missing}")]
    Missing {
        /// What needs it.
        reason: &'static str,
        /// Name of the setting that is missing.
        missing: &'static str,
    },
    /// A setting that would have no effect.
    #[error("{setting} is set, but KAFKA_SECURITY={security} does not use it: set {remedy}")]
    Unused {
        /// Name of the setting.
        setting: &'static str,
        /// The value of `KAFKA_SECURITY`.
        security: String,
        /// What would use it.
        remedy: &'static str,
    },
    /// A file cannot be read.
    #[error("{setting}: cannot read {}", path.display())]
    Unreadable {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program lacks OAUTHBEARER.
    #[error(
        "KAFKA_SASL_MECHANISM=OAUTHBEARER: this program was built without it; build it with \
         --features oauthbearer, which needs libcurl's headers"
    )]
    WithoutOauthbearer,
}

impl SecurityArgs {
    /// Where the settings do not fit each other, or their files cannot be read.
    pub fn problems(&self) -> Vec<SecurityError> {
        let mut problems = Vec::new();
        let mut secret = |read: Result<Option<Secret>, SecretError>| match read {
            Ok(secret) => secret.is_some(),
            Err(error) => {
                problems.push(error.into());
                true
            }
        };
        let has_password = secret(self.password());
        let has_key_password = secret(self.key_password());
        problems.extend(self.missing(has_password));
        problems.extend(self.unused(has_password, has_key_password));
        problems.extend(self.unreadable());
        let is_oauthbearer = self.kafka_sasl_mechanism == Some(Mechanism::Oauthbearer);
        if is_oauthbearer && !cfg!(feature = "oauthbearer") {
            problems.push(SecurityError::WithoutOauthbearer);
        }
        problems
    }

    fn missing(&self, has_password: bool) -> impl Iterator<Item = SecurityError> {
        let logs_in = self.kafka_security.logs_in();
        let needed = [
            (
                logs_in && self.kafka_sasl_mechanism.is_none(),
                "KAFKA_SECURITY is one with a login",
                "KAFKA_SASL_MECHANISM",
            ),
            (
                logs_in && self.kafka_username.is_none(),
                "KAFKA_SASL_MECHANISM needs to know who logs in",
                "KAFKA_USERNAME",
            ),
            (
                logs_in && !has_password,
                "KAFKA_SASL_MECHANISM needs a password",
                "KAFKA_PASSWORD or KAFKA_PASSWORD_FILE",
            ),
            (
                logs_in
                    && self.kafka_sasl_mechanism == Some(Mechanism::Oauthbearer)
                    && self.kafka_token_url.is_none(),
                "OAUTHBEARER needs an address that gives tokens",
                "KAFKA_TOKEN_URL",
            ),
            (
                self.kafka_certificate_file.is_some() && self.kafka_key_file.is_none(),
                "KAFKA_CERTIFICATE_FILE needs its key",
                "KAFKA_KEY_FILE",
            ),
            (
                self.kafka_key_file.is_some() && self.kafka_certificate_file.is_none(),
                "KAFKA_KEY_FILE needs its certificate",
                "KAFKA_CERTIFICATE_FILE",
            ),
        ];
        let missing = needed.into_iter().filter(|(is_missing, ..)| *is_missing);
        missing.map(|(_, reason, missing)| SecurityError::Missing { reason, missing })
    }

    fn unused(
        &self,
        has_password: bool,
        has_key_password: bool,
    ) -> impl Iterator<Item = SecurityError> {
        let logs_in = self.kafka_security.logs_in();
        let is_encrypted = self.kafka_security.is_encrypted();
        let with_login = "KAFKA_SECURITY=sasl_ssl";
        let with_tls = "KAFKA_SECURITY=ssl or sasl_ssl";
        let unused = [
            (!logs_in, has_password, "KAFKA_PASSWORD", with_login),
            (
                !logs_in,
                self.kafka_sasl_mechanism.is_some(),
                "KAFKA_SASL_MECHANISM",
                with_login,
            ),
            (
                !is_encrypted,
                self.kafka_ca_file.is_some(),
                "KAFKA_CA_FILE",
                with_tls,
            ),
            (
                !is_encrypted,
                self.kafka_certificate_file.is_some(),
                "KAFKA_CERTIFICATE_FILE",
                with_tls,
            ),
            (
                !is_encrypted,
                has_key_password,
                "KAFKA_KEY_PASSWORD",
                with_tls,
            ),
        ];
        let security = name(&self.kafka_security);
        let unused = unused
            .into_iter()
            .filter(|(unused, is_set, ..)| *unused && *is_set);
        unused.map(move |(.., setting, remedy)| SecurityError::Unused {
            setting,
            security: security.clone(),
            remedy,
        })
    }

    fn unreadable(&self) -> impl Iterator<Item = SecurityError> {
        let files = [
            ("KAFKA_CA_FILE", &self.kafka_ca_file),
            ("KAFKA_CERTIFICATE_FILE", &self.kafka_certificate_file),
            ("KAFKA_KEY_FILE", &self.kafka_key_file),
        ];
        files.into_iter().filter_map(|(setting, path)| {
            let path = path.as_ref()?;
            let source = std::fs::read(path).err()?;
            Some(SecurityError::Unreadable {
                setting,
                path: path.clone(),
                source,
            })
        })
    }

    fn password(&self) -> Result<Option<Secret>, SecretError> {
        let file = self.kafka_password_file.as_deref();
        Secret::given("KAFKA_PASSWORD", self.kafka_password.as_ref(), file)
    }

    fn key_password(&self) -> Result<Option<Secret>, SecretError> {
        let file = self.kafka_key_password_file.as_deref();
        Secret::given("KAFKA_KEY_PASSWORD", self.kafka_key_password.as_ref(), file)
    }

    /// Adds the settings to those of a client.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", name(&self.kafka_security));
        let is_encrypted = self.kafka_security.is_encrypted();
        let is_oauthbearer = self.kafka_sasl_mechanism == Some(Mechanism::Oauthbearer);
        let of_file = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string());
        // A library that was built elsewhere does not know where this system keeps its
        // authorities; it looks at the usual places.
        let authorities = of_file(&self.kafka_ca_file).unwrap_or_else(|| "probe".to_owned());
        let login = |oauthbearer: &'static str, other: &'static str| {
            if is_oauthbearer { oauthbearer } else { other }
        };
        let settings = [
            ("ssl.ca.location", is_encrypted.then_some(authorities)),
            (
                "ssl.certificate.location",
                of_file(&self.kafka_certificate_file),
            ),
            ("ssl.key.location", of_file(&self.kafka_key_file)),
            ("ssl.key.password", revealed(self.key_password())),
            (
                "sasl.mechanism",
                self.kafka_sasl_mechanism.as_ref().map(name),
            ),
            (
                login("sasl.oauthbearer.client.id", "sasl.username"),
                self.kafka_username.clone(),
            ),
            (
                login("sasl.oauthbearer.client.secret", "sasl.password"),
                revealed(self.password()),
            ),
            (
                "sasl.oauthbearer.method",
                is_oauthbearer.then(|| "oidc".to_owned()),
            ),
            (
                "sasl.oauthbearer.token.endpoint.url",
                self.kafka_token_url.clone(),
            ),
            ("sasl.oauthbearer.scope", self.kafka_token_scope.clone()),
            (
                "sasl.oauthbearer.extensions",
                self.kafka_token_extensions.clone(),
            ),
        ];
        for (key, value) in settings {
            if let Some(value) = value {
                config.set(key, value);
            }
        }
    }
}

/// The value of a secret whose file was readable at the start.
fn revealed(secret: Result<Option<Secret>, SecretError>) -> Option<String> {
    let secret = secret.unwrap_or_else(|error| {
        tracing::error!(%error, "a client of kafka lacks a secret");
        None
    });
    secret.map(|it| it.current().expose_secret().to_owned())
}

/// How settings and librdkafka spell a value.
fn name(value: &impl ValueEnum) -> String {
    let spelled = value.to_possible_value();
    spelled.map_or_else(String::new, |it| it.get_name().to_owned())
}
