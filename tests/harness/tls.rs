//! Certificates of one test, and HTTPS before a server that lacks it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509Builder, X509Name, X509NameRef,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

/// An authority, and what it has signed: the certificate of the servers on 127.0.0.1
/// and that of a client.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<tempfile::TempDir>);

impl Certificates {
    /// Name of the client.
    pub const CLIENT: &str = "hubspot-streams-client";

    /// Makes all of them.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// Makes all of them, in a new folder of this one.
    pub(crate) fn new_in(parent: &Path) -> Self {
        let folder = Self(Arc::new(tempfile::tempdir_in(parent).expect("a folder")));
        let authority = pair("scenario-authority", None);
        let server = pair("localhost", Some(&authority));
        let client = pair(Self::CLIENT, Some(&authority));
        folder.write("ca.pem", &[&authority.pem()]);
        folder.write("server.pem", &[&server.pem()]);
        folder.write("server.key", &[&server.key_pem()]);
        folder.write("server-with-key.pem", &[&server.key_pem(), &server.pem()]);
        folder.write("client.pem", &[&client.pem()]);
        folder.write("client.key", &[&client.key_pem()]);
        folder
    }

    /// Where one of them is: `ca.pem`, `client.pem`, `client.key`, `server.pem`,
    /// `server.key` or `server-with-key.pem`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// [`Self::path`] as a setting.
    pub fn setting(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, parts: &[&[u8]]) {
        write(&self.path(name), &parts.concat());
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).expect("a file");
}

struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

impl Pair {
    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("PEM")
    }
}

/// A certificate for a name and 127.0.0.1, signed by an authority or by itself.
fn pair(name: &str, authority: Option<&Pair>) -> Pair {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let subject = named(name);
    let issuer: &X509NameRef = match authority {
        Some(authority) => authority.certificate.subject_name(),
        None => &subject,
    };
    let mut builder = X509Builder::new().expect("memory");
    builder.set_version(2).expect("version 3");
    let mut number = BigNum::new().expect("memory");
    number
        .rand(120, MsbOption::MAYBE_ZERO, false)
        .expect("random");
    let number = number.to_asn1_integer().expect("a number");
    builder.set_serial_number(&number).expect("a number");
    builder.set_subject_name(&subject).expect("a name");
    builder.set_issuer_name(issuer).expect("a name");
    builder.set_pubkey(&key).expect("a key");
    let day = |days| Asn1Time::days_from_now(days).expect("a day");
    builder.set_not_before(&day(0)).expect("a time");
    builder.set_not_after(&day(2)).expect("a time");
    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if authority.is_none() {
        constraints.ca();
    }
    let constraints = constraints.build().expect("an extension");
    builder.append_extension(constraints).expect("an extension");
    let names = SubjectAlternativeName::new()
        .dns(name)
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .expect("an extension");
    builder.append_extension(names).expect("an extension");
    let signer = authority.map_or(&key, |it| &it.key);
    builder
        .sign(signer, MessageDigest::sha256())
        .expect("a signature");
    Pair {
        certificate: builder.build(),
        key,
    }
}

fn named(name: &str) -> X509Name {
    let mut builder = X509Name::builder().expect("memory");
    builder.append_entry_by_text("CN", name).expect("a name");
    builder.build()
}
