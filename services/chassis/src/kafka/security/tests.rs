//! Which settings fit each other, and what a client gets.

use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Flags {
    #[command(flatten)]
    security: SecurityArgs,
}

fn parse(arguments: &[&str]) -> SecurityArgs {
    Flags::parse_from([&["test"], arguments].concat()).security
}

fn client(arguments: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::new();
    parse(arguments).apply(&mut config);
    config
}

const LOGIN: [&str; 8] = [
    "--kafka-security",
    "SASL_SSL",
    "--kafka-sasl-mechanism",
    "scram-sha-512",
    "--kafka-username",
    "u",
    "--kafka-password",
    "p",
];

#[test]
fn settings_that_do_not_fit_each_other_are_refused_with_what_is_missing() {
    for (arguments, part) in [
        (
            vec!["--kafka-security", "sasl_ssl"],
            "set KAFKA_SASL_MECHANISM",
        ),
        (LOGIN[..4].to_vec(), "set KAFKA_USERNAME"),
        (LOGIN[..6].to_vec(), "set KAFKA_PASSWORD"),
        (
            vec!["--kafka-password", "p"],
            "KAFKA_SECURITY=plaintext does not use it",
        ),
        (vec!["--kafka-ca-file", "/x"], "KAFKA_SECURITY=ssl"),
        (
            vec!["--kafka-security", "ssl", "--kafka-key-file", "/x"],
            "set KAFKA_CERTIFICATE_FILE",
        ),
        (
            vec!["--kafka-security", "ssl", "--kafka-ca-file", "/nowhere/ca"],
            "KAFKA_CA_FILE: cannot read /nowhere/ca",
        ),
        (
            [&LOGIN[..3], &["OAUTHBEARER"], &LOGIN[4..]].concat(),
            "set KAFKA_TOKEN_URL",
        ),
    ] {
        let refused = parse(&arguments).problems().remove(0).to_string();
        assert!(refused.contains(part), "{arguments:?}: {refused}");
    }
    assert!(parse(&[]).problems().is_empty());
    assert!(parse(&LOGIN).problems().is_empty());
}

#[test]
fn a_client_gets_what_its_login_needs() {
    let plain = client(&[]);
    assert_eq!(plain.get("security.protocol"), Some("plaintext"));
    assert_eq!(plain.get("ssl.ca.location"), None);
    let login = client(&LOGIN);
    for (key, value) in [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", "probe"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "u"),
        ("sasl.password", "p"),
    ] {
        assert_eq!(login.get(key), Some(value), "{key}");
    }
    let tokens = client(
        &[
            &LOGIN[..3],
            &["OAUTHBEARER", "--kafka-token-url", "https://x"],
            &LOGIN[4..],
        ]
        .concat(),
    );
    assert_eq!(tokens.get("sasl.oauthbearer.client.id"), Some("u"));
    assert_eq!(tokens.get("sasl.oauthbearer.client.secret"), Some("p"));
    assert_eq!(tokens.get("sasl.username"), None);
}
