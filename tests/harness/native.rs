//! The commands of `infra/native/stack`, which run programs that are not ours.

use std::process::Command;

use crate::servers::root;

/// Runs a command, with variables; panics with what it printed if it fails. Returns what
/// it printed on standard output.
pub async fn stack_command(arguments: &[&str], variables: &[(&str, String)]) -> String {
    let mut command = Command::new(root().join("infra/native/stack"));
    command
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("it is awaited")
        .expect("the script runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr),
    );
    printed
}
