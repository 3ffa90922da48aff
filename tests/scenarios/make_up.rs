//! What `make up` does: over real servers, but with binaries that are built already.

use std::{
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use harness::{
    HANG_LIMIT, eventually, exposition,
    servers::{free_port, root},
    stack::TOKEN,
};
use hubspot_sim::{Config, Fault, FaultBody, Kind, Rule, Simulator};

const NATIVE: &str = "infra/native/stack";
const COMPOSE: &str = "infra/compose.sh";

/// Ports of a stack, by setting.
const PORTS: [&str; 8] = [
    "API_PORT",
    "KAFKA_PORT",
    "KAFKA_CONTROLLER_PORT",
    "REGISTRY_PORT",
    "CLICKHOUSE_HTTP_PORT",
    "CLICKHOUSE_TCP_PORT",
    "WORKER_ADMIN_PORT",
    "SIM_PORT",
];

/// A desk: a data folder, free ports, and programs that stand in for those that
/// build and for Docker's.
struct Desk {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tests = std::env::current_exe().unwrap();
        let mut near = tests.ancestors().skip(1).take(2);
        let built = near.find(|it| it.join("worker").exists()).unwrap();
        symlink(built, folder.path().join("quick")).unwrap();
        let programs = folder.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        // Nothing is built, and no container runs or is started.
        for name in ["cargo", "docker"] {
            let program = programs.join(name);
            let calls = folder.path().join("calls").display().to_string();
            let text = format!("#!/bin/sh\necho \"{name} $*\" >>'{calls}'\n");
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let mut variables: Vec<_> = [
            ("PATH", format!("{}:{path}", programs.display())),
            ("DATA_DIR", place("data")),
            ("CARGO_TARGET_DIR", folder.path().display().to_string()),
            ("CONNECTION", "default".to_owned()),
            ("HUBSPOT_ACCESS_TOKEN", TOKEN.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        variables.extend(PORTS.map(|it| (it.to_owned(), free_port().to_string())));
        Self { folder, variables }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn get(&self, name: &str) -> &str {
        let mut named = self.variables.iter().rev().filter(|it| it.0 == name);
        &named.next().unwrap().1
    }

    fn data(&self) -> &Path {
        Path::new(self.get("DATA_DIR"))
    }

    fn command(&self, script: &str, command: &str) -> Command {
        let mut process = Command::new("timeout");
        process.args(["590", "bash", "-c", "\"$0\" \"$1\" 2>&1", script, command]);
        process.envs(self.variables.iter().map(|it| (&it.0, &it.1)));
        process.current_dir(root());
        process
    }

    /// Runs a command; whether it succeeded, and all that it printed.
    async fn run(&self, script: &str, command: &str) -> (bool, String) {
        let mut process = self.command(script, command);
        let output = tokio::task::spawn_blocking(move || process.output().unwrap());
        let output = output.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    }

    /// Runs a command and calls `then` once it has printed `part`; whether it
    /// succeeded, and all that it printed.
    async fn run_until(&self, command: &str, part: &str, then: impl FnOnce()) -> (bool, String) {
        let file = self.folder.path().join("printed");
        let mut process = self.command(NATIVE, command);
        process.stdout(std::fs::File::create(&file).unwrap());
        let mut child = process.spawn().unwrap();
        let printed = || std::fs::read_to_string(&file).unwrap();
        let ended = eventually(part, HANG_LIMIT, || {
            let ended = child.try_wait().unwrap();
            let printed = printed().contains(part).then_some(None);
            async move { ended.map(Some).or(printed) }
        });
        assert_eq!(ended.await, None, "ended without {part:?}:\n{}", printed());
        then();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
        (status.await.unwrap().success(), printed())
    }

    /// How often the API was asked for a connection.
    async fn questions(&self) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.get("API_PORT"));
        let answer = harness::api::client().get(url).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let is_asked = |labels: &str| {
            labels.contains("route=\"/v1/connections/{name}\"") && labels.contains("GET")
        };
        let requests = exposition::samples(&text)
            .filter(|(name, labels, _)| *name == "api_requests_total" && is_asked(labels));
        requests.map(|(_, _, value)| value).sum()
    }

    /// The pid files: which processes run.
    fn pids(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.data().join("pids")).into_iter();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let mut pids: Vec<_> = entries
            .flatten()
            .map(|it| it.unwrap().path())
            .map(|path| (path.display().to_string(), read(&path)))
            .collect();
        pids.sort();
        pids
    }
}

/// Ends what was started, also where a test fails.
impl Drop for Desk {
    fn drop(&mut self) {
        let mut down = Command::new(root().join(NATIVE));
        down.arg("down");
        down.envs(self.variables.iter().map(|it| (&it.0, &it.1)));
        let _ended = down.output();
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
            {
                let folder = self.folder.path().display();
                eprintln!("--- data and logs are kept in {folder}");
            }
        }
    }
}

async fn simulator(contacts: u32) -> Simulator {
    let mut config = Config::with_sizes(contacts, 10);
    for portal in &mut config.portals {
        portal.tokens = vec![TOKEN.to_owned()];
        portal.limits = hubspot_sim::Limits::off();
    }
    Simulator::start(config).await.unwrap()
}

fn assert_in(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sync_that_cannot_succeed_ends_make_up_with_the_reason() {
    let simulator = simulator(50).await;
    let mut desk = Desk::new();
    desk.set("HUBSPOT_BASE_URL", &simulator.base_url());
    desk.set("HUBSPOT_ACCESS_TOKEN", "pat-na1-of-nobody");
    let (succeeded, text) = desk.run(NATIVE, "up").await;
    assert!(!succeeded, "{text}");
    assert_in(&text, &["cannot succeed", "token", "make down up"]);
    assert!(!text.contains("pat-na1-of-nobody"), "{text}");
    // All processes run, so that only the first sync is waited for. It asks once a second.
    let before = desk.questions().await;
    let (succeeded, text) = desk.run(NATIVE, "up").await;
    assert!(!succeeded, "{text}");
    assert_in(&text, &["cannot succeed", "token"]);
    let asked = desk.questions().await - before;
    assert!((3.0..30.0).contains(&asked), "asked {asked} times: {text}");

    // Streams without their scope.
    desk.run(NATIVE, "down").await;
    desk.set("HUBSPOT_ACCESS_TOKEN", TOKEN);
    for object_type in ["contacts", "companies"] {
        simulator.portal().set_scope(object_type, false);
    }
    let (succeeded, text) = desk.run(NATIVE, "up").await;
    assert!(!succeeded, "{text}");
    let scopes = ["crm.objects.contacts.read", "crm.objects.companies.read"];
    assert_in(&text, &scopes);

    // What ends by itself is waited for, and said.
    for object_type in ["contacts", "companies"] {
        simulator.portal().set_scope(object_type, true);
    }
    let fault = Fault::Status {
        code: 477,
        body: FaultBody::Json,
        retry_after: Some(1),
    };
    simulator
        .faults()
        .push(Rule::next(Kind::Properties, fault).always());
    let ends = || simulator.faults().clear();
    let (succeeded, text) = desk.run_until("up", "waiting: ", ends).await;
    assert!(succeeded, "{text}");
    let file = desk.data().join("clickhouse-reader-password");
    let password = std::fs::read_to_string(&file).unwrap();
    assert!(password.trim().len() >= 20, "{password}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert_in(&text, &["contacts 50", "Dashboard", password.trim()]);

    let before = desk.pids();
    let (succeeded, text) = desk.run(NATIVE, "up").await;
    assert!(succeeded, "{text}");
    assert_eq!(desk.pids(), before, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_settings_with_one_port_are_named_before_anything_starts() {
    for (script, first, second) in [
        (NATIVE, "KAFKA_CONTROLLER_PORT", "REGISTRY_PORT"),
        (NATIVE, "API_PORT", "CLICKHOUSE_TCP_PORT"),
        (COMPOSE, "KAFKA_PORT", "WORKER_ADMIN_PORT"),
    ] {
        let mut desk = Desk::new();
        let port = desk.get(first).to_owned();
        desk.set(second, &port);
        let (succeeded, text) = desk.run(script, "up").await;
        assert!(!succeeded, "{text}");
        assert_in(&text, &[first, second, desk.get(first), "its own port"]);
        assert!(desk.pids().is_empty(), "{text}");
        let calls = std::fs::read_to_string(desk.folder.path().join("calls"));
        let calls = calls.unwrap_or_default();
        assert!(!calls.contains(" up"), "{calls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_program_is_named_with_its_setting() {
    for (script, setting) in [
        (NATIVE, "KAFKA_CONTROLLER_PORT"),
        (COMPOSE, "CLICKHOUSE_HTTP_PORT"),
    ] {
        let desk = Desk::new();
        let port: u16 = desk.get(setting).parse().unwrap();
        let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (succeeded, text) = desk.run(script, "up").await;
        assert!(!succeeded, "{text}");
        assert_in(&text, &[setting, desk.get(setting), "another program"]);
        assert!(desk.pids().is_empty(), "{text}");
    }
}
