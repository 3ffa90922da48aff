//! Credentials by reference, and their refresh.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, method, path},
};

use super::{refresh::is_revoked, *};
use crate::hubspot::{Http, HubSpotConfig};

struct App {
    server: MockServer,
    folder: tempfile::TempDir,
}

impl App {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let credential = r#"{"client_id":"c","client_secret":"s","refresh_token":"r1"}"#;
        std::fs::write(folder.path().join("app"), credential).unwrap();
        std::fs::write(folder.path().join("key"), "first").unwrap();
        Self {
            server: MockServer::start().await,
            folder,
        }
    }

    fn auth(&self, name: &str) -> Arc<Auth> {
        self.auth_at(name, &self.server.uri())
    }

    fn auth_at(&self, name: &str, base_url: &str) -> Arc<Auth> {
        let config = HubSpotConfig::at(base_url.parse().unwrap());
        let transport = Transport::new(&config, &Http::new(&config).unwrap(), Arc::new(|| true));
        let folder = self.folder.path().to_owned();
        Arc::new(Auth::resolve(&format!("file:{name}"), folder, transport).unwrap())
    }

    fn kept(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.folder.path().join("app")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Grants `a1`, `a2`, … and rotates the refresh token to `r2`, `r3`, …
    async fn grants(&self, expires_in: u64) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        Mock::given(method("POST"))
            .and(path("/oauth/2026-09/token"))
            .respond_with(move |_: &Request| {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                ResponseTemplate::new(200)
                    .set_body_json(json!({
                        "access_token": format!("a{number}"),
                        "refresh_token": format!("r{}", number + 1),
                        "expires_in": expires_in,
                    }))
                    .set_delay(Duration::from_millis(50))
            })
            .mount(&self.server)
            .await;
        count
    }
}

async fn secret(auth: &Auth) -> String {
    let token = auth.token("2026-09").await.unwrap();
    token.secret.expose_secret().to_owned()
}

#[tokio::test]
async fn waiting_requests_share_one_refresh_and_the_rotated_token_is_stored() {
    let app = App::start().await;
    let count = app.grants(1_800).await;
    let auth = app.auth("app");
    let waiting = (0..20).map(|_| {
        let auth = Arc::clone(&auth);
        async move { secret(&auth).await }
    });
    let tokens = futures::future::join_all(waiting).await;
    assert!(tokens.iter().all(|token| token == "a1"), "{tokens:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(app.kept()["refresh_token"], "r2");
    assert_eq!(app.kept()["client_secret"], "s");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_for_all_requests_that_used_it() {
    let app = App::start().await;
    let count = app.grants(1_800).await;
    let auth = app.auth("app");
    let token = auth.token("2026-09").await.unwrap();
    assert!(auth.renew(token.generation, "2026-09").await.unwrap());
    assert!(auth.renew(token.generation, "2026-09").await.unwrap());
    assert_eq!(secret(&auth).await, "a2");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let form = app
        .server
        .received_requests()
        .await
        .unwrap()
        .pop()
        .unwrap()
        .body;
    assert!(
        String::from_utf8(form)
            .unwrap()
            .contains("refresh_token=r2")
    );
}

#[tokio::test]
async fn an_expired_token_is_renewed_before_it_is_used() {
    let app = App::start().await;
    app.grants(60).await;
    let auth = app.auth("app");
    for expected in ["a1", "a2", "a3"] {
        for _ in 0..2 {
            assert_eq!(secret(&auth).await, expected);
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(49)).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_refresh_whose_request_was_dropped_is_not_lost() {
    let app = App::start().await;
    let count = app.grants(1_800).await;
    let auth = app.auth("app");
    {
        let token = auth.token("2026-09");
        tokio::pin!(token);
        // Polled once, it has started the refresh.
        assert!(futures::poll!(token).is_pending());
    }
    assert_eq!(secret(&auth).await, "a1");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refresh_token_that_another_process_rotated_is_read_again() {
    let app = App::start().await;
    let auth = app.auth("app");
    Mock::given(body_string_contains("refresh_token=r1"))
        .respond_with(
            ResponseTemplate::new(400).set_body_json(json!({"status": "BAD_REFRESH_TOKEN"})),
        )
        .mount(&app.server)
        .await;
    Mock::given(body_string_contains("refresh_token=r7"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"access_token": "a7"})))
        .mount(&app.server)
        .await;
    let fault = auth.token("2026-09").await.unwrap_err();
    assert!(is_revoked(&fault), "{fault}");
    let newer = r#"{"client_id":"c","client_secret":"s","refresh_token":"r7"}"#;
    std::fs::write(app.folder.path().join("app"), newer).unwrap();
    assert_eq!(secret(&auth).await, "a7");
}

#[tokio::test]
async fn a_token_replaced_in_its_file_is_used_when_the_old_one_is_refused() {
    let app = App::start().await;
    let auth = app.auth("key");
    let token = auth.token("2026-09").await.unwrap();
    assert!(!auth.renew(token.generation, "2026-09").await.unwrap());
    std::fs::write(app.folder.path().join("key"), "second\n").unwrap();
    assert!(auth.renew(token.generation, "2026-09").await.unwrap());
    assert_eq!(secret(&auth).await, "second");
}

#[tokio::test]
async fn no_secret_shows_in_debug_output() {
    let app = App::start().await;
    app.grants(1_800).await;
    let auth = app.auth("app");
    auth.token("2026-09").await.unwrap();
    let shown = format!("{auth:?}");
    for secret in ["r1", "r2", "a1"] {
        assert!(!shown.contains(&format!("\"{secret}\"")), "{shown}");
    }
}

#[tokio::test]
async fn a_refresh_that_is_not_sent_ends_with_its_connection() {
    use tokio::io::AsyncReadExt;

    let app = App::start().await;
    // An address behind TLS whose handshake never ends.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let auth = app.auth_at("app", &base_url);
    let connecting = async {
        let (connection, _) = listener.accept().await.unwrap();
        connection.readable().await.unwrap();
        connection
    };
    let mut connection = tokio::select! {
        _ = auth.token("2026-09") => panic!("there is no answer"),
        connection = connecting => connection,
    };
    // As a stop does.
    drop(auth);
    let mut hello = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut hello));
    assert!(closed.await.is_ok(), "the connection is still being made");
}

#[tokio::test]
async fn a_refresh_that_was_sent_is_finished_so_that_a_rotated_token_is_kept() {
    let app = App::start().await;
    let count = app.grants(1_800).await;
    let auth = app.auth("app");
    let received = async {
        while count.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = auth.token("2026-09") => panic!("the answer comes later"),
        () = received => {}
    }
    drop(auth);
    let kept = async {
        while app.kept()["refresh_token"] != "r2" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), kept)
        .await
        .unwrap();
}
