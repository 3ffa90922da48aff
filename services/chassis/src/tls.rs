//! TLS of clients of HTTP servers: whose certificates they trust.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use native_tls::Certificate;
pub use native_tls::TlsConnector;

/// Why no connection can be secured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the authorities cannot be read.
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
    /// It has no certificates in PEM.
    #[error("{setting}: {} has no certificate in PEM (-----BEGIN CERTIFICATE-----)", path.display())]
    NoCertificate {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The library refuses.
    #[error("{setting}: the certificates cannot be used")]
    Refused {
        /// Name of the setting.
        setting: &'static str,
        /// Why.
        #[source]
        source: native_tls::Error,
    },
}

/// Trusts the system's authorities. A process reads them once: OpenSSL takes tens of
/// milliseconds of CPU time for them.
pub fn system() -> Result<TlsConnector, native_tls::Error> {
    static SYSTEM: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(connector) = SYSTEM.get() {
        return Ok(connector.clone());
    }
    let connector = TlsConnector::new()?;
    Ok(SYSTEM.get_or_init(|| connector).clone())
}

/// Trusts the authorities in the file that this setting names, and no others; those of
/// the system where there is none.
pub fn connector(setting: &'static str, file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let refused = |source| TlsError::Refused { setting, source };
    let Some(path) = file else {
        return system().map_err(refused);
    };
    let pem = std::fs::read(path).map_err(|source| TlsError::Unreadable {
        setting,
        path: path.to_owned(),
        source,
    })?;
    let certificates = Certificate::stack_from_pem(&pem).map_err(refused)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            setting,
            path: path.to_owned(),
        });
    }
    let mut builder = TlsConnector::builder();
    builder.disable_built_in_roots(true);
    for certificate in certificates {
        builder.add_root_certificate(certificate);
    }
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.pem");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let refused = |path: &Path| connector("X_CA_FILE", Some(path)).unwrap_err().to_string();
        assert!(refused(&missing).contains("X_CA_FILE: cannot read"));
        let refused = refused(&empty);
        assert!(
            refused.contains("X_CA_FILE") && refused.contains("certificate"),
            "{refused}"
        );
        assert!(connector("X_CA_FILE", None).is_ok());
    }
}
