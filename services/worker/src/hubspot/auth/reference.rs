//! References to credentials (`env:`, `file:`), and reading and writing the
//! credentials that they name.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Limit of a credential's file, in bytes. A credential is a token or a small JSON
/// object.
const MAX_BYTES: u64 = 64 * 1024;
/// Only variables with this prefix may be named. Otherwise a user of the API
/// could have any variable of the worker sent to a HubSpot URL.
const VARIABLE_PREFIX: &str = "HUBSPOT_";

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// The reference may not be used.
    #[error("the credential reference is not allowed: {reason}")]
    NotAllowed {
        /// What is allowed.
        reason: &'static str,
    },
    /// The variable or file does not exist.
    #[error("the credential {name} does not exist")]
    Missing {
        /// Variable or file.
        name: String,
    },
    /// It cannot be read.
    #[error("the credential {name} cannot be read: {kind}")]
    Unreadable {
        /// Variable or file.
        name: String,
        /// The error of the operating system.
        kind: io::ErrorKind,
    },
    /// It is neither a token nor an OAuth credential.
    #[error("the credential {name} is neither a token nor an OAuth credential")]
    Malformed {
        /// Variable or file.
        name: String,
    },
}

/// A reference to a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// A variable of the environment.
    Variable(String),
    /// The name of a file in the folder of credentials.
    File(String),
}

/// A credential as it was read.
#[derive(Debug)]
pub(super) enum Credential {
    /// A private app's token or a service key.
    Token(SecretString),
    /// The OAuth credential of an app.
    OAuth(OAuth),
}

/// An OAuth credential.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OAuth {
    /// The app's id.
    pub(super) client_id: String,
    /// The app's secret.
    pub(super) client_secret: SecretString,
    /// The refresh token of the account's installation.
    pub(super) refresh_token: SecretString,
}

/// An OAuth credential as it is written to its file.
#[derive(Serialize)]
struct StoredOAuth<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    refresh_token: &'a str,
}

/// A refresh token that replaces the one in the environment.
#[derive(Serialize, Deserialize)]
struct Rotated {
    refresh_token: String,
}

/// The environment, as a parameter, so that a test can set it.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Reference {
    /// Parses a reference: `env:HUBSPOT_…`, or `file:NAME` inside `folder`.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, CredentialError> {
        if let Some(name) = text.strip_prefix("env:") {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let rest = name.strip_prefix(VARIABLE_PREFIX);
            return match rest {
                Some(rest) if !rest.is_empty() && rest.bytes().all(allowed) => {
                    Ok(Self::Variable(name.to_owned()))
                }
                _ => Err(CredentialError::NotAllowed {
                    reason: "a variable has to begin with HUBSPOT_",
                }),
            };
        }
        let Some(name) = text.strip_prefix("file:") else {
            return Err(CredentialError::NotAllowed {
                reason: "it has to begin with env: or file:",
            });
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(CredentialError::NotAllowed {
                reason: "a file name may have letters, digits, dots, dashes and underscores only",
            });
        }
        place(name, folder)?;
        Ok(Self::File(name.to_owned()))
    }

    /// Reads the credential. For one in the environment, a rotated refresh token
    /// is read from `folder`.
    pub(super) fn read(
        &self,
        folder: &Path,
        environment: Environment<'_>,
    ) -> Result<Credential, CredentialError> {
        let name = self.name().to_owned();
        let text = match self {
            Self::Variable(variable) => environment(variable)
                .ok_or_else(|| CredentialError::Missing { name: name.clone() })?,
            Self::File(file) => {
                read_small(&place(file, folder)?).map_err(|error| CredentialError::Unreadable {
                    name: name.clone(),
                    kind: error.kind(),
                })?
            }
        };
        let text = text.trim();
        let mut credential = if text.starts_with('{') {
            match serde_json::from_str(text) {
                Ok(credential) => Credential::OAuth(credential),
                // The parser's message can quote a secret.
                Err(_quoting) => return Err(CredentialError::Malformed { name }),
            }
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Credential::Token(text.to_owned().into())
        } else {
            return Err(CredentialError::Malformed { name });
        };
        if let (Self::Variable(_), Credential::OAuth(credential)) = (self, &mut credential) {
            let kept = read_small(&rotated_path(folder, credential)).ok();
            if let Some(rotated) = kept.and_then(|kept| serde_json::from_str::<Rotated>(&kept).ok())
            {
                credential.refresh_token = rotated.refresh_token.into();
            }
        }
        Ok(credential)
    }

    /// Stores a rotated refresh token where [`Self::read`] finds it. A file that no
    /// longer has `used` was replaced by someone else, and is not changed.
    pub(super) fn keep(
        &self,
        folder: &Path,
        environment: Environment<'_>,
        used: &SecretString,
        rotated: &SecretString,
    ) -> io::Result<()> {
        match self {
            Self::Variable(variable) => {
                let text = environment(variable).unwrap_or_default();
                let original: OAuth = serde_json::from_str(text.trim())
                    .map_err(|_quoting| io::Error::from(io::ErrorKind::InvalidData))?;
                let content = Rotated {
                    refresh_token: rotated.expose_secret().to_owned(),
                };
                fs::create_dir_all(folder)?;
                replace(
                    &rotated_path(folder, &original),
                    &serde_json::to_vec(&content)?,
                )
            }
            Self::File(file) => {
                let path = place(file, folder).map_err(io::Error::other)?;
                let current: OAuth = serde_json::from_str(read_small(&path)?.trim())
                    .map_err(|_quoting| io::Error::from(io::ErrorKind::InvalidData))?;
                if current.refresh_token.expose_secret() != used.expose_secret() {
                    return Ok(());
                }
                let content = StoredOAuth {
                    client_id: &current.client_id,
                    client_secret: current.client_secret.expose_secret(),
                    refresh_token: rotated.expose_secret(),
                };
                replace(&path, &serde_json::to_vec_pretty(&content)?)
            }
        }
    }

    /// The variable or file, for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Variable(name) | Self::File(name) => name,
        }
    }
}

/// Where a file of the folder is now. Kubernetes rotates a secret by exchanging a link on
/// the way to it, so a place is not kept.
fn place(name: &str, folder: &Path) -> Result<PathBuf, CredentialError> {
    let real = |path: &Path| {
        fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CredentialError::Missing {
                name: name.to_owned(),
            },
            kind => CredentialError::Unreadable {
                name: name.to_owned(),
                kind,
            },
        })
    };
    let path = real(&folder.join(name))?;
    if !path.starts_with(real(folder)?) {
        return Err(CredentialError::NotAllowed {
            reason: "the file has to be inside the credentials folder",
        });
    }
    Ok(path)
}

/// Reads a file that is no larger than a credential.
pub(super) fn read_small(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    fs::read_to_string(path)
}

/// The file for the rotated token. Its name depends on the original token, so that
/// a new credential in the environment is not overridden by the old one's
/// successor.
fn rotated_path(folder: &Path, original: &OAuth) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(original.client_id.as_bytes());
    hash.update([0]);
    hash.update(original.refresh_token.expose_secret().as_bytes());
    let digest = hash.finalize();
    let bytes = digest.iter().take(16);
    let name: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!(".rotated-{}.json", name.concat()))
}

/// Replaces a file atomically: after a crash it is the old or the new one, complete.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("credential");
    let new = folder.join(format!(".{}.new", name.trim_start_matches('.')));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
