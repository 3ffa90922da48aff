//! What a reference may name, and where a rotated token is stored.

use super::*;

const OAUTH: &str = r#"{"client_id":"c","client_secret":"s","refresh_token":"r1"}"#;

fn oauth(credential: Credential) -> OAuth {
    match credential {
        Credential::OAuth(credential) => credential,
        Credential::Token(_) => panic!("not OAuth"),
    }
}

#[test]
fn only_hubspot_variables_and_files_inside_the_folder_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(folder.path().join("good"), "token").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path(), folder.path().join("escape")).unwrap();
    for refused in [
        "",
        "token",
        "env:",
        "env:PATH",
        "env:HUBSPOT_",
        "env:HUBSPOT_A B",
        "env:hubspot_x",
        "file:",
        "file:../good",
        "file:a/b",
        "file:.hidden",
        "file:/etc/passwd",
        "file:escape",
        "FILE:good",
        "file:good\0",
    ] {
        let result = Reference::parse(refused, folder.path());
        assert!(
            matches!(result, Err(CredentialError::NotAllowed { .. })),
            "{refused}: {result:?}"
        );
    }
    assert!(Reference::parse("env:HUBSPOT_ACCESS_TOKEN", folder.path()).is_ok());
    let reference = Reference::parse("file:good", folder.path()).unwrap();
    let read = reference.read(folder.path(), &|_| None).unwrap();
    assert!(matches!(read, Credential::Token(token) if token.expose_secret() == "token"));
    let missing = Reference::parse("file:missing", folder.path());
    assert!(matches!(missing, Err(CredentialError::Missing { .. })));
}

#[test]
fn an_invalid_credential_is_refused_without_quoting_it() {
    let folder = tempfile::tempdir().unwrap();
    let reference = Reference::parse("env:HUBSPOT_X", folder.path()).unwrap();
    for text in [
        "",
        "two words",
        "{}",
        r#"{"client_id":"hunter2"}"#,
        "{hunter2",
    ] {
        let error = reference
            .read(folder.path(), &|_| Some(text.to_owned()))
            .unwrap_err();
        assert!(matches!(error, CredentialError::Malformed { .. }), "{text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    let error = reference.read(folder.path(), &|_| None).unwrap_err();
    assert!(matches!(error, CredentialError::Missing { .. }));
}

#[test]
fn a_rotated_token_is_stored_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app"), OAUTH).unwrap();
    let reference = Reference::parse("file:app", folder.path()).unwrap();
    reference
        .keep(folder.path(), &|_| None, &"r1".into(), &"r2".into())
        .unwrap();
    let read = oauth(reference.read(folder.path(), &|_| None).unwrap());
    assert_eq!(read.refresh_token.expose_secret(), "r2");
    assert_eq!(read.client_secret.expose_secret(), "s");
    reference
        .keep(folder.path(), &|_| None, &"r1".into(), &"r3".into())
        .unwrap();
    let read = oauth(reference.read(folder.path(), &|_| None).unwrap());
    assert_eq!(
        read.refresh_token.expose_secret(),
        "r2",
        "a file replaced meanwhile is left as it is"
    );
}

#[test]
fn a_rotated_token_of_the_environment_is_stored_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let environment = |_: &str| Some(OAUTH.to_owned());
    let reference = Reference::parse("env:HUBSPOT_APP", folder.path()).unwrap();
    reference
        .keep(folder.path(), &environment, &"r1".into(), &"r2".into())
        .unwrap();
    let read = oauth(reference.read(folder.path(), &environment).unwrap());
    assert_eq!(read.refresh_token.expose_secret(), "r2");
    let replaced = |_: &str| Some(OAUTH.replace("r1", "r9"));
    let read = oauth(reference.read(folder.path(), &replaced).unwrap());
    assert_eq!(
        read.refresh_token.expose_secret(),
        "r9",
        "a new credential wins"
    );
}

/// The file is a link through `..data` to a folder, which is replaced.
#[cfg(unix)]
#[test]
fn a_file_that_kubernetes_rotates_is_read_at_its_new_place() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rotate = |version: &str, token: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("token"), token).unwrap();
        symlink(version, at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
    };
    rotate("1", "first");
    symlink("..data/token", at("token")).unwrap();
    let reference = Reference::parse("file:token", folder.path()).unwrap();
    let reads = |expected: &str| {
        let read = reference.read(folder.path(), &|_| None).unwrap();
        assert!(matches!(read, Credential::Token(it) if it.expose_secret() == expected));
    };
    reads("first");
    rotate("2", "second");
    fs::remove_dir_all(at("1")).unwrap();
    reads("second");
    // The link may not lead out of the folder later either.
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("token"), "third").unwrap();
    symlink(outside.path(), at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    let refused = reference.read(folder.path(), &|_| None);
    assert!(matches!(refused, Err(CredentialError::NotAllowed { .. })));
}
