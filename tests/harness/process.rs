//! A child process: runs in the foreground, writes a log, is ended by a signal,
//! and never outlives the test.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long a service may take from SIGTERM to its end: a promise of the
/// product.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// Sends a signal with the shell's `kill`; whether that succeeded.
fn send(signal: &str, pid: u32) -> bool {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .status();
    sent.expect("a shell runs").success()
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

type StartRequest = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The kernel kills a child (`pdeathsig`) when the thread that started it ends,
/// so one thread that lives as long as the test binary starts all of them.
static STARTER: LazyLock<mpsc::Sender<StartRequest>> = LazyLock::new(|| {
    let (requests, received) = mpsc::channel::<StartRequest>();
    thread::spawn(move || {
        for (mut command, answer) in received {
            let _nobody_waits = answer.send(command.spawn());
        }
    });
    requests
});

impl Process {
    /// Starts `program` with `arguments` and `variables`, beside the variables of
    /// the test; appends its output to `log`.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("log file opens");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("log file is shared"))
            .stderr(output);
        let (answer, started) = mpsc::channel();
        STARTER
            .send((command, answer))
            .expect("the starting thread lives");
        let child = started
            .recv()
            .expect("the starting thread answers")
            .unwrap_or_else(|error| {
                panic!("{name} does not start: {error}");
            });
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    pub fn signal(&self, signal: &str) {
        assert!(
            send(signal, self.child.id()),
            "{} cannot be sent SIG{signal}",
            self.name
        );
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL is sent");
        self.child.wait().expect("the end is seen");
    }

    /// Sends SIGTERM and waits for the end; panics if that takes longer than
    /// `limit`, or if the process fails.
    pub fn terminate(&mut self, limit: Duration) {
        let status = self.end(limit);
        assert!(status.success(), "{} ends with {status}", self.name);
    }

    /// Sends SIGTERM and waits for the end; panics if that takes longer than
    /// `limit`. A server that runs on Java ends with a failure by that signal.
    pub fn end(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        let (ended, end) = mpsc::channel();
        let pid = self.child.id();
        // `wait` has no time limit; the thread ends with the process.
        thread::scope(|scope| {
            let child = &mut self.child;
            scope.spawn(move || {
                let _nobody_waits = ended.send(child.wait());
            });
            let Ok(status) = end.recv_timeout(limit) else {
                send("KILL", pid);
                panic!("{} has not ended {limit:?} after SIGTERM", self.name);
            };
            status.expect("the end is seen")
        })
    }

    /// Waits until it has failed by itself and returns its output. Panics if it
    /// still runs after `limit`. Blocks.
    pub fn until_failed(&mut self, limit: Duration) -> String {
        let began = Instant::now();
        while self.is_running() {
            assert!(
                began.elapsed() < limit,
                "{} still runs after {limit:?}:\n{}",
                self.name,
                self.output()
            );
            thread::park_timeout(Duration::from_millis(50));
        }
        let status = self.child.wait().expect("the end is seen");
        assert!(!status.success(), "{} ends with {status}", self.name);
        self.output()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state is known").is_none()
    }

    /// Waits until it has ended by itself; panics with `why` if it does not.
    pub async fn until_ended(&mut self, limit: Duration, why: &str) {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while self.is_running() {
            assert!(began.elapsed() < limit, "{} still runs: {why}", self.name);
            ticks.tick().await;
        }
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _seen = self.child.wait();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let tail = lines
                .get(lines.len().saturating_sub(40)..)
                .unwrap_or_default()
                .join("\n");
            #[expect(clippy::print_stderr, reason = "cargo shows it with the failed test")]
            {
                eprintln!("--- end of the log of {}:\n{tail}", self.name);
            }
        }
    }
}
