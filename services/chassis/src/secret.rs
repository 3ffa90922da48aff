//! Secrets: given as a value, or in a file, which is read again so that a secret that
//! is rotated is used without a restart.
//!
//! It must not know what a secret is for.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret as _, SecretString};

/// How old what was read may be. Kubernetes replaces files about once a minute.
const FRESH: Duration = Duration::from_secs(1);

/// Why a secret cannot be used. Never names its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is a value and a file.
    #[error("{0} and {0}_FILE are both set: unset one of them")]
    Twice(&'static str),
    /// The file cannot be read.
    #[error("{setting}_FILE: cannot read {}", path.display())]
    Unreadable {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is a value, but it is empty.
    #[error("{0} is empty: unset it, or give it a value")]
    Empty(&'static str),
    /// It can be guessed.
    #[error(
        "{setting} has {length} characters: give it at least {least}, as `openssl rand -hex 24` \
         prints them"
    )]
    Short {
        /// Name of the setting.
        setting: &'static str,
        /// How long it is.
        length: usize,
        /// How long it has to be.
        least: usize,
    },
}

/// What a secret has to be.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Name of the setting, without `_FILE`.
    pub setting: &'static str,
    /// Its least length in characters.
    pub least: usize,
}

/// A secret. Cheap to clone.
#[derive(Clone)]
pub struct Secret(Arc<Source>);

enum Source {
    Value(SecretString),
    File {
        rule: Rule,
        path: PathBuf,
        last: Mutex<Read>,
    },
}

struct Read {
    secret: SecretString,
    at: Instant,
    /// Whether the file could not be read the last time.
    failed: bool,
}

impl Secret {
    /// The secret of a setting, if there is one.
    pub fn of(
        rule: Rule,
        value: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Result<Option<Self>, SecretError> {
        let source = match (value, file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(SecretError::Twice(rule.setting)),
            (Some(value), None) => {
                check(rule, value)?;
                Source::Value(value.clone())
            }
            (None, Some(path)) => Source::File {
                rule,
                path: path.to_owned(),
                last: Mutex::new(Read {
                    secret: read(rule, path)?,
                    at: Instant::now(),
                    failed: false,
                }),
            },
        };
        Ok(Some(Self(Arc::new(source))))
    }

    /// [`Self::of`] a setting that another server gave, so that its length is not ours to
    /// judge: it must not be empty.
    pub fn given(
        setting: &'static str,
        value: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Result<Option<Self>, SecretError> {
        Self::of(Rule { setting, least: 1 }, value, file)
    }

    /// A secret that does not change.
    pub fn fixed(value: SecretString) -> Self {
        Self(Arc::new(Source::Value(value)))
    }

    /// The secret as it is now. While its file cannot be read, or what it has is not
    /// allowed, the last one stays.
    pub fn current(&self) -> SecretString {
        match &*self.0 {
            Source::Value(value) => value.clone(),
            Source::File { rule, path, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.at.elapsed() >= FRESH {
                    last.at = Instant::now();
                    match read(*rule, path) {
                        Ok(secret) => {
                            last.secret = secret;
                            last.failed = false;
                        }
                        Err(error) => {
                            if !std::mem::replace(&mut last.failed, true) {
                                let error = crate::with_causes(&error);
                                tracing::error!(error, "the last secret is used");
                            }
                        }
                    }
                }
                last.secret.clone()
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Source::Value(_) => f.write_str("Secret"),
            Source::File { path, .. } => write!(f, "Secret(in {})", path.display()),
        }
    }
}

/// Reads by the path, not by a handle that is kept: Kubernetes exchanges a symbolic link
/// on the way to the file.
fn read(rule: Rule, path: &Path) -> Result<SecretString, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable {
        setting: rule.setting,
        path: path.to_owned(),
        source,
    })?;
    let secret = SecretString::from(text.trim());
    check(rule, &secret)?;
    Ok(secret)
}

fn check(rule: Rule, secret: &SecretString) -> Result<(), SecretError> {
    match secret.expose_secret().trim().chars().count() {
        0 => Err(SecretError::Empty(rule.setting)),
        length if length < rule.least => Err(SecretError::Short {
            setting: rule.setting,
            length,
            least: rule.least,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const RULE: Rule = Rule {
        setting: "A_TOKEN",
        least: 4,
    };

    fn refused(value: Option<&str>, file: Option<&Path>) -> String {
        let value = value.map(SecretString::from);
        let error = Secret::of(RULE, value.as_ref(), file).unwrap_err();
        error.to_string()
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_the_name_of_the_setting() {
        let nowhere = Path::new("/nowhere/token");
        assert!(refused(Some("secret"), Some(nowhere)).contains("A_TOKEN_FILE"));
        assert!(refused(None, Some(nowhere)).contains("/nowhere/token"));
        assert!(refused(Some(" "), None).contains("A_TOKEN is empty"));
        assert!(refused(Some("abc"), None).contains("at least 4"));
        assert!(Secret::of(RULE, None, None).unwrap().is_none());
    }

    /// The file is a link through `..data` to a folder, which is replaced.
    #[test]
    fn a_secret_that_kubernetes_rotates_is_read_at_its_new_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let rotate = |version: &str, text: &str| {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("token"), text).unwrap();
            symlink(version, at("..new")).unwrap();
            std::fs::rename(at("..new"), at("..data")).unwrap();
        };
        rotate("1", "first\n");
        symlink("..data/token", at("token")).unwrap();
        let secret = Secret::of(RULE, None, Some(&at("token"))).unwrap().unwrap();
        let reads = |expected: &str| {
            let Source::File { last, .. } = &*secret.0 else {
                panic!("it is in a file");
            };
            // As if a second had passed.
            last.lock().unwrap().at = Instant::now().checked_sub(FRESH).unwrap();
            assert_eq!(secret.current().expose_secret(), expected);
        };
        reads("first");
        rotate("2", "second");
        std::fs::remove_dir_all(at("1")).unwrap();
        reads("second");
        // What is not allowed does not replace it.
        rotate("3", "");
        reads("second");
        std::fs::remove_dir_all(at("3")).unwrap();
        reads("second");
        rotate("4", "fourth");
        reads("fourth");
        assert!(!format!("{secret:?}").contains("fourth"));
    }
}
