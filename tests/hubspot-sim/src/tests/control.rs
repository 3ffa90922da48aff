//! Faults, tokens and the control interface.

use super::*;

const DETAILS: &str = "/account-info/2026-09/details";

async fn send(client: &Client, path: &str) -> reqwest::Result<bytes::Bytes> {
    let request = client
        .http
        .get(format!("{}{path}", client.base))
        .bearer_auth("demo-token");
    request.send().await?.bytes().await
}

#[tokio::test]
async fn scripted_faults_occur_in_order() {
    let simulator = simulator(200, |_| {}).await;
    let client = Client::of(&simulator);
    let faults = simulator.faults();
    faults.push(Rule::any(Fault::Reset));
    assert!(send(&client, DETAILS).await.is_err());
    faults.push(Rule::any(Fault::CutBody { after: 10 }));
    assert!(send(&client, DETAILS).await.is_err());
    faults.push(Rule::any(Fault::SlowBody {
        pieces: 3,
        pause_ms: 1,
    }));
    assert!(send(&client, DETAILS).await.is_ok());
    faults.push(Rule::any(Fault::Status {
        code: 502,
        body: FaultBody::Html,
        retry_after: None,
    }));
    assert!(matches!(client.get(DETAILS).await, (502, Value::String(_))));
    faults.push(Rule::any(Fault::RateLimited {
        policy: Policy::Daily,
        retry_after: Some(3),
    }));
    assert_eq!(client.get(DETAILS).await.1["policyName"], "DAILY");
    assert_eq!(client.get(DETAILS).await.0, 200);
}

#[tokio::test]
async fn a_request_of_a_client_that_has_gone_is_not_in_flight() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    simulator.faults().push(Rule::any(Fault::Stall));
    let in_flight = async |count| {
        while simulator.requests().counts().in_flight != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = client.get(DETAILS) => panic!("{answer:?}"),
        () = in_flight(1) => {}
    }
    drop(client);
    in_flight(0).await;
    assert_eq!(simulator.requests().answered(0), 1);
}

#[tokio::test]
async fn a_missing_scope_closes_one_type_only() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    simulator.portal().set_scope("companies", false);
    let (status, body) = client.get("/crm/objects/2026-09/companies").await;
    assert_eq!((status, &body["category"]), (403, &json!("MISSING_SCOPES")));
    assert_eq!(client.get("/crm/objects/2026-09/contacts").await.0, 200);
}

#[tokio::test]
async fn an_oauth_token_expires_and_its_refresh_rotates() {
    let simulator = simulator(10, |config| {
        config.portals[0].oauth = Some(OAuthConfig {
            client_id: "app".into(),
            client_secret: "secret".into(),
            refresh_token: "first".into(),
            rotate: true,
            expires_in_s: 1_800,
        });
    })
    .await;
    let client = Client::of(&simulator);
    let refresh = async |token: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("client_secret", "secret"),
            ("refresh_token", token),
        ];
        let url = format!("{}/oauth/2026-03/token", client.base);
        read(client.http.post(url).form(&form).send().await.unwrap()).await
    };
    let (status, granted) = refresh("first").await;
    assert_eq!((status, &granted["expires_in"]), (200, &json!(1_800)));
    let access = granted["access_token"].as_str().unwrap().to_owned();
    let call = async || {
        let url = format!("{}{DETAILS}", client.base);
        read(
            client
                .http
                .get(url)
                .bearer_auth(&access)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    assert_eq!(call().await.0, 200);
    simulator.advance(Duration::from_mins(30));
    assert_eq!(call().await.1["category"], "EXPIRED_AUTHENTICATION");
    assert_eq!(refresh("first").await.1["status"], "BAD_REFRESH_TOKEN");
    let next = granted["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(next).await.0, 200);
    simulator.revoke_grant(simulator.portal().id());
    let next = simulator.refresh_token(simulator.portal().id()).unwrap();
    assert_eq!(refresh(&next).await.0, 400);
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    simulator.revoke_token("demo-token");
    assert_eq!(
        client.get(DETAILS).await.1["category"],
        "INVALID_AUTHENTICATION"
    );
    simulator.assign_token("demo-token", simulator.portal().id());
    assert_eq!(client.get(DETAILS).await.0, 200);
}

#[tokio::test]
async fn the_control_interface_changes_objects_and_shows_the_truth() {
    let simulator = simulator(10, |_| {}).await;
    let client = Client::of(&simulator);
    let (_, made) = client
        .post("/__sim/objects/contacts", json!({"firstname": "Zoë"}))
        .await;
    let id = made[0]["ids"][0].as_u64().unwrap();
    let path = format!("/__sim/objects/contacts/{id}");
    assert_eq!(
        client
            .post(&format!("{path}/update"), json!({"city": "Lyon"}))
            .await
            .0,
        200
    );
    assert_eq!(
        client.post(&format!("{path}/archive"), json!({})).await.0,
        200
    );
    assert_eq!(
        client.post(&format!("{path}/archive"), json!({})).await.0,
        404
    );
    let changes = json!({"op": "restore", "object_type": "contacts", "id": id});
    assert_eq!(client.post("/__sim/changes", changes).await.0, 200);
    let (_, truth) = client.get("/__sim/truth/contacts?digest=1").await;
    assert_eq!(truth["count"], 11);
    assert_eq!(
        truth["digest"],
        simulator.truth("contacts").unwrap().digest.to_string()
    );
    let (_, Value::String(lines)) = client.get("/__sim/truth/contacts/objects").await else {
        panic!("not many lines");
    };
    assert_eq!(lines.lines().count(), 11);
    let fault = json!({"kind": "list", "fault": {"fault": "status", "code": 500}});
    assert_eq!(client.post("/__sim/faults", fault).await.0, 200);
    assert_eq!(client.get("/crm/objects/2026-09/contacts").await.0, 500);
    assert_eq!(client.get("/__sim/requests").await.1["by_status"]["500"], 1);
}

#[tokio::test]
async fn the_kind_of_a_token_decides_its_limits() {
    let simulator = simulator(10, |config| {
        config.portals[0].limits = Limits::default();
        config.portals[0].token_kind = TokenKind::ServiceKey;
    })
    .await;
    let client = Client::of(&simulator);
    let headers = async |token: &str| {
        let request = client.http.get(format!("{}{DETAILS}", client.base));
        let answer = request.bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| {
            let value = answer.headers().get(format!("x-hubspot-ratelimit-{name}"));
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        (header("max").unwrap(), header("daily-remaining"))
    };
    let daily = |left: &str| Some(left.to_owned());
    assert_eq!(
        headers("demo-token").await,
        ("190".to_owned(), daily("624999"))
    );
    for (kind, expected) in [
        ("oauth", ("110".to_owned(), None)),
        ("service_key", ("190".to_owned(), daily("624998"))),
        ("private_app", ("190".to_owned(), daily("624997"))),
    ] {
        let token = json!({"token": kind, "kind": kind});
        assert_eq!(client.post("/__sim/tokens", token).await.0, 200);
        assert_eq!(headers(kind).await, expected);
    }
    // The usage of the day has the private app's request, and not those of the keys.
    let path = "/account-info/2026-09/api-usage/daily/private-apps";
    assert_eq!(client.get(path).await.1["results"][0]["currentUsage"], 1);
}
