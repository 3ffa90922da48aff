//! Listeners of Kafka where clients have to prove who they are.

use std::{fmt::Write as _, path::Path, process::Command};

use super::{SHARED_SECURE, free_port, root};
use crate::tls::Certificates;

/// Listeners of Kafka with TLS, logins and client certificates. Whom it does not know
/// it denies everything; the plain listener may do everything.
#[derive(Debug, Clone)]
pub struct Secure {
    /// What signs the servers and the client.
    pub certificates: Certificates,
    /// Port with TLS where users log in with SCRAM-SHA-512.
    pub login: u16,
    /// Port with TLS where a client's certificate says who it is.
    pub certificate: u16,
    /// Port without TLS where clients log in with a token.
    pub token: u16,
}

impl Secure {
    /// A user who may do everything.
    pub const USER: &str = "hubspot-streams";
    /// Its password.
    pub const PASSWORD: &str = "scenario-kafka-password";
    /// A user who may do nothing until [`Self::allow`].
    pub const LIMITED: &str = "limited";

    /// Those of the Kafka that all scenarios share.
    pub fn shared() -> &'static Self {
        &SHARED_SECURE
    }

    /// Listeners on free ports.
    pub(super) fn new(certificates: Certificates) -> Self {
        Self {
            certificates,
            login: free_port(),
            certificate: free_port(),
            token: free_port(),
        }
    }

    /// Each as `LISTEN:ADVERTISED:PROTOCOL`.
    pub(super) fn listeners(&self) -> [String; 3] {
        let listener = |port: u16, protocol: &str| format!("{port}:{port}:{protocol}");
        [
            listener(self.login, "SASL_SSL"),
            listener(self.certificate, "SSL"),
            listener(self.token, "SASL_PLAINTEXT"),
        ]
    }

    /// Options of the command that starts Kafka.
    pub(super) fn options(&self, data: &Path) -> Vec<String> {
        let file = data.with_extension("settings");
        std::fs::write(&file, self.settings()).expect("a file of settings");
        let user = |name| format!("name={name},password={}", Self::PASSWORD);
        vec![
            "--settings".to_owned(),
            file.display().to_string(),
            "--scram".to_owned(),
            [Self::USER, Self::LIMITED].map(user).join(" "),
        ]
    }

    fn settings(&self) -> String {
        const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
        const TOKEN: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
        let mut settings = String::new();
        let mut set = |port: u16, key: &str, value: &str| {
            writeln!(settings, "listener.name.port{port}.{key}={value}").expect("memory");
        };
        for port in [self.login, self.certificate] {
            let file = |name: &str| self.certificates.path(name).display().to_string();
            set(port, "ssl.keystore.type", "PEM");
            set(port, "ssl.keystore.location", &file("server-with-key.pem"));
            set(port, "ssl.truststore.type", "PEM");
            set(port, "ssl.truststore.location", &file("ca.pem"));
        }
        set(self.certificate, "ssl.client.auth", "required");
        let login = |module: &str, more: &str| format!("{module} required{more};");
        set(self.login, "sasl.enabled.mechanisms", "SCRAM-SHA-512");
        set(
            self.login,
            "scram-sha-512.sasl.jaas.config",
            &login(SCRAM, ""),
        );
        set(self.token, "sasl.enabled.mechanisms", "OAUTHBEARER");
        set(
            self.token,
            "oauthbearer.sasl.jaas.config",
            &login(TOKEN, " unsecuredLoginStringClaim_sub=\"broker\""),
        );
        settings
            + &format!(
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS;User:{};User:CN={}\n",
                Self::USER,
                Certificates::CLIENT
            )
    }

    /// Allows the limited user operations on a kind of thing whose names begin so.
    /// Blocks.
    pub fn allow(bootstrap: &str, kind: &str, prefix: &str, operations: &[&str]) {
        let mut command = Command::new(root().join("infra/native/stack"));
        command.args(["kafka-tool", "org.apache.kafka.tools.AclCommand"]);
        command.args(["--bootstrap-server", bootstrap, "--add"]);
        command.args(["--allow-principal", &format!("User:{}", Self::LIMITED)]);
        command.arg(kind);
        if kind != "--cluster" {
            command.args([prefix, "--resource-pattern-type", "prefixed"]);
        }
        for operation in operations {
            command.args(["--operation", operation]);
        }
        let done = command.output().expect("the tool runs");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}
