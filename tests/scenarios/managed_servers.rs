//! Servers as providers run them: with TLS, passwords, certificates, tokens, rights and
//! several brokers.

use std::{os::unix::fs::symlink, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use harness::{
    HANG_LIMIT, HttpsFront, Stack, eventually, incompressible, log::read_topic, servers::Secure,
    tls::Certificates,
};
use serde_json::json;

/// Login of the registry in front of the real one.
const REGISTRY_LOGIN: [&str; 2] = ["registry-user", "scenario-registry-password"];

type Variables = Vec<(&'static str, String)>;

fn as_pairs(variables: &Variables) -> Vec<(&str, &str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// Settings of a client that logs in to Kafka with SCRAM over TLS.
fn login(user: &str) -> Variables {
    let secure = Secure::shared();
    let authority = secure.certificates.setting("ca.pem");
    vec![
        ("KAFKA_BOOTSTRAP", format!("127.0.0.1:{}", secure.login)),
        ("KAFKA_SECURITY", "sasl_ssl".to_owned()),
        ("KAFKA_CA_FILE", authority),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512".to_owned()),
        ("KAFKA_USERNAME", user.to_owned()),
        ("KAFKA_PASSWORD", Secure::PASSWORD.to_owned()),
    ]
}

/// Lets a link lead to a file with this text, as Kubernetes replaces a secret.
fn replace_secret(link: &Path, text: &str) {
    let version = link.with_extension(format!("of-{}-characters", text.len()));
    std::fs::write(&version, text).unwrap();
    let new = link.with_extension("new");
    symlink(&version, &new).unwrap();
    std::fs::rename(&new, link).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_the_new_password_of_clickhouse() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    replace_secret(&password, harness::stack::WRITER_PASSWORD);
    let mut stack = Stack::with(50, 10)
        .data_streams("CLICKHOUSE_PASSWORD", "")
        .data_streams("CLICKHOUSE_PASSWORD_FILE", password.to_str().unwrap())
        .start()
        .await;
    stack.first_sync(json!({})).await;

    let next = "scenario-next-writer";
    stack.keep_secret(next);
    stack.clickhouse.change_writer_password(next);
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    portal.bulk("contacts", &ids, &[("city", "Ghent")]).unwrap();
    stack.sync().await;
    eventually("the password is refused", HANG_LIMIT, async || {
        let answer = stack.api().try_send("GET", "/health/ready", None).await;
        let answer = answer.ok()?.body.to_string();
        answer.contains("Authentication failed").then_some(())
    })
    .await;
    replace_secret(&password, next);

    let sql = "SELECT countIf(city = 'Ghent') FROM hubspot.contacts";
    stack.sql_as_reader().until(sql, ids.len()).await;
    stack.api().ready().await;
    stack.log().await.assert_exactly_once();
    let letters = read_topic(stack.servers(), &stack.topic("dead-letters")).await;
    assert_eq!(letters.len(), 0, "no record was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_caps_messages_gets_smaller_topics_and_larger_records_are_dead_letters() {
    let stack = Stack::with(200, 20).capped_kafka().start().await;
    let portal = stack.simulator.portal();
    let ids = portal.ids("contacts");
    let large = incompressible(2 << 20);
    portal
        .update("contacts", ids[7], &[("city", &large)])
        .unwrap();
    stack.first_sync(json!({})).await;
    let sql = "SELECT count() FROM hubspot.contacts";
    stack.sql_as_reader().until(sql, ids.len() - 1).await;
    let letter = eventually("the dead letter is listed", HANG_LIMIT, async || {
        let shown = stack.api().get("/v1/dead-letters").await;
        shown["results"].get(0).cloned()
    })
    .await;
    let error = letter["error"].as_str().unwrap();
    assert!(error.contains("MessageSizeTooLarge"), "{letter}");
    assert_eq!(letter["topic"], stack.topic("dead-letters"), "{letter}");

    // It arrives once it is small.
    portal.update("contacts", ids[7], &[("city", "a")]).unwrap();
    stack.sync().await;
    stack.matches_truth("contacts").await;
}

/// What the last instance of data-streams says, once it has said this.
async fn until_it_says(stack: &Stack, part: &str) -> String {
    let instance = stack.instances.last().expect("an instance");
    eventually(part, HANG_LIMIT, async || {
        let said = instance.process.output();
        said.contains(part).then_some(said)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_may_want_tls_and_a_login() {
    let mut stack = Stack::with(300, 30).without_services().start().await;
    let secure = Secure::shared();
    let certificates = &secure.certificates;
    stack.keep_secret(Secure::PASSWORD);
    stack.keep_secret(REGISTRY_LOGIN[1]);
    let basic = format!("Basic {}", STANDARD.encode(REGISTRY_LOGIN.join(":")));
    let registry_port = stack.servers().registry_port;
    let registry = HttpsFront::start(certificates, registry_port, Some(&basic)).await;
    let clickhouse = HttpsFront::start(certificates, stack.clickhouse.port, None).await;
    let registry = vec![
        (
            "REGISTRY_URL",
            format!("https://127.0.0.1:{}/apis/ccompat/v7", registry.port),
        ),
        ("REGISTRY_USER", REGISTRY_LOGIN[0].to_owned()),
        ("REGISTRY_PASSWORD", REGISTRY_LOGIN[1].to_owned()),
        ("REGISTRY_CA_FILE", certificates.setting("ca.pem")),
    ];
    // The worker logs in, data-streams shows its certificate.
    let worker = [login(Secure::USER), registry.clone()].concat();
    let data_streams = [
        vec![
            (
                "KAFKA_BOOTSTRAP",
                format!("127.0.0.1:{}", secure.certificate),
            ),
            ("KAFKA_SECURITY", "ssl".to_owned()),
            ("KAFKA_CA_FILE", certificates.setting("ca.pem")),
            ("KAFKA_CERTIFICATE_FILE", certificates.setting("client.pem")),
            ("KAFKA_KEY_FILE", certificates.setting("client.key")),
            (
                "CLICKHOUSE_URL",
                format!("https://127.0.0.1:{}", clickhouse.port),
            ),
            ("CLICKHOUSE_CA_FILE", certificates.setting("ca.pem")),
        ],
        registry,
    ]
    .concat();
    stack.add_worker_with(&as_pairs(&worker));
    stack.add_data_streams_with(&as_pairs(&data_streams));
    stack.api().ready().await;
    stack.first_sync(json!({})).await;
    stack.log().await.assert_exactly_once();
    stack.matches_truth("contacts").await;
    stack.matches_truth("companies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_and_an_unknown_certificate_are_named() {
    let mut stack = Stack::with(20, 5).without_services().start().await;
    stack.keep_secret(Secure::PASSWORD);
    let good = login(Secure::USER);
    let with = |name: &'static str, value: &str| {
        let mut variables = good.clone();
        variables.push((name, value.to_owned()));
        variables
    };
    let wrong = with("KAFKA_PASSWORD", "another-password");
    stack.add_data_streams_with(&as_pairs(&wrong));
    let said = until_it_says(&stack, "kafka refuses the login").await;
    assert!(said.contains("KAFKA_USERNAME"), "{said}");

    let stranger = Certificates::new();
    let untrusted = with("KAFKA_CA_FILE", &stranger.setting("ca.pem"));
    stack.add_data_streams_with(&as_pairs(&untrusted));
    let said = until_it_says(&stack, "no TLS connection to kafka").await;
    assert!(said.contains("KAFKA_CA_FILE"), "{said}");

    // Settings that do not fit each other end the process with the reason.
    for (name, value, reason) in [
        ("KAFKA_SECURITY", "plaintext", "KAFKA_PASSWORD is set, but"),
        (
            "KAFKA_CA_FILE",
            "/nowhere/ca.pem",
            "KAFKA_CA_FILE: cannot read",
        ),
        (
            "KAFKA_KEY_FILE",
            "/nowhere/key.pem",
            "KAFKA_CERTIFICATE_FILE",
        ),
        (
            "CLICKHOUSE_CA_FILE",
            "/nowhere/ca.pem",
            "CLICKHOUSE_CA_FILE: cannot read",
        ),
    ] {
        stack.add_data_streams_with(&as_pairs(&with(name, value)));
        let instance = stack.instances.last_mut().expect("an instance");
        let said = instance.process.until_failed(Duration::from_mins(1));
        assert!(said.contains(reason), "{name}={value}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_right_to_create_uses_topics_that_exist() {
    let mut stack = Stack::with(200, 20).without_services().start().await;
    stack.keep_secret(Secure::PASSWORD);
    let limited = login(Secure::LIMITED);
    let bootstrap = stack.servers().bootstrap();
    let prefix = stack.topic("");
    let allowed = prefix.clone();
    tokio::task::spawn_blocking(move || {
        let topics = ["Read", "Write", "Describe", "DescribeConfigs"];
        Secure::allow(&bootstrap, "--topic", &allowed, &topics);
        Secure::allow(&bootstrap, "--group", &allowed, &["Read"]);
        let ids = ["Write", "Describe"];
        Secure::allow(&bootstrap, "--transactional-id", &allowed, &ids);
    })
    .await
    .expect("rights are given");
    // It may not make topics, and says who can and how.
    stack.add_data_streams_with(&as_pairs(&limited));
    let said = until_it_says(&stack, "kafka denies Create on topic").await;
    let command = format!("kafka-topics.sh --create --topic {prefix}");
    assert!(said.contains(&command), "{said}");
    // Somebody who may makes them.
    let other = login(Secure::USER);
    stack.add_data_streams_with(&as_pairs(&other));
    stack.api().ready().await;
    for instance in &mut stack.instances {
        instance.process.kill();
    }
    stack.add_worker_with(&as_pairs(&limited));
    stack.add_data_streams_with(&as_pairs(&limited));
    stack.api().ready().await;
    stack.first_sync(json!({})).await;
    stack.log().await.assert_exactly_once();
    stack.matches_truth("contacts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compatibility_rule_that_somebody_has_set_stays() {
    let mut stack = Stack::with(20, 5).without_services().start().await;
    let rule = |subject: String| {
        let url = format!("{}/config/{subject}", stack.servers().registry_url());
        harness::api::client().get(url)
    };
    let of_records = rule(format!("{}-value", stack.topic("records")));
    let of_status = rule(format!("{}-value", stack.topic("status")));
    let url = format!(
        "{}/config/{}-value",
        stack.servers().registry_url(),
        stack.topic("records")
    );
    let set = harness::api::client()
        .put(url)
        .json(&json!({"compatibility": "FULL"}));
    let set = set.send().await.expect("the registry answers");
    assert!(set.status().is_success(), "{}", set.status());
    stack.add_worker();
    stack.add_data_streams();
    stack.api().ready().await;
    let level = async |asked: reqwest::RequestBuilder| {
        let answer = asked.send().await.expect("the registry answers");
        answer.text().await.expect("an answer")
    };
    let kept = level(of_records).await;
    assert!(kept.contains("\"FULL\""), "{kept}");
    let set = level(of_status).await;
    assert!(set.contains("BACKWARD_TRANSITIVE"), "{set}");
}

/// Login with tokens, in programs that were built with it.
#[cfg(feature = "oauthbearer")]
mod tokens {
    use std::time::{SystemTime, UNIX_EPOCH};

    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http_body_util::Full;
    use hyper::{Response, body::Bytes};
    use tokio::task::JoinSet;

    use super::*;

    /// A token for a user, good for an hour, as Kafka's own validator for tests takes it.
    fn token(user: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let claims = json!({"sub": user, "iat": now, "exp": now + 3600});
        let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims))
    }

    /// Gives tokens to whoever asks; its address, and what keeps it up.
    async fn start_issuer() -> (String, JoinSet<()>) {
        let answer = async |_| {
            let answer = json!({
                "access_token": token(Secure::USER),
                "token_type": "Bearer",
                "expires_in": 3600,
            });
            let mut answer = Response::new(Full::new(Bytes::from(answer.to_string())));
            let json = "application/json".parse().expect("a type");
            answer.headers_mut().insert("content-type", json);
            answer
        };
        let (port, accepting) = harness::http::serve(answer).await;
        (format!("http://127.0.0.1:{port}/token"), accepting)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kafka_may_want_a_token() {
        let mut stack = Stack::with(200, 20).without_services().start().await;
        let (url, _issuer) = start_issuer().await;
        let secret = "scenario-client-secret";
        stack.keep_secret(secret);
        let variables = vec![
            (
                "KAFKA_BOOTSTRAP",
                format!("127.0.0.1:{}", Secure::shared().token),
            ),
            ("KAFKA_SECURITY", "sasl_plaintext".to_owned()),
            ("KAFKA_SASL_MECHANISM", "OAUTHBEARER".to_owned()),
            ("KAFKA_TOKEN_URL", url),
            ("KAFKA_USERNAME", "client-id".to_owned()),
            ("KAFKA_PASSWORD", secret.to_owned()),
        ];
        stack.add_worker_with(&as_pairs(&variables));
        stack.add_data_streams_with(&as_pairs(&variables));
        stack.api().ready().await;
        stack.first_sync(json!({})).await;
        stack.log().await.assert_exactly_once();
        stack.matches_truth("contacts").await;
    }
}
