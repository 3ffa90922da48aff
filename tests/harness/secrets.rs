//! Searches logs for secrets, which none may contain.

use std::{collections::BTreeMap, path::Path};

/// The secrets of credential files, each given by name and content.
pub(crate) fn of(credentials: &[(String, String)]) -> Vec<String> {
    let mut secrets = Vec::new();
    for (_, content) in credentials {
        match serde_json::from_str::<BTreeMap<String, String>>(content) {
            // A shorter text, such as a client id, is no secret.
            Ok(fields) => secrets.extend(fields.into_values().filter(|it| it.len() >= 8)),
            Err(_) => secrets.push(content.trim().to_owned()),
        }
    }
    secrets
}

/// Panics if a log in the folder of a stack contains one of the secrets.
pub(crate) fn assert_absent(folder: &Path, secrets: &[String]) {
    let mut logs = vec![folder.join("clickhouse/server.log")];
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    logs.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "log")));
    for log in logs {
        let bytes = std::fs::read(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets {
            let found = text.contains(secret.as_str());
            assert!(!found, "a secret is in {}", log.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_log_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("worker.log"), "token=hush-hush-hush").unwrap();
        let known = |text: &str| of(&[("a".to_owned(), text.to_owned())]);
        assert_absent(
            folder.path(),
            &known(r#"{"client_secret":"something else"}"#),
        );
        let found = std::panic::catch_unwind(|| {
            assert_absent(folder.path(), &known("hush-hush-hush\n"));
        });
        assert!(found.is_err());
    }
}
