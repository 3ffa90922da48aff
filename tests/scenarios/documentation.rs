//! The examples of the READMEs: each command is run and each statement of SQL,
//! and answers have the form of those that are printed.

use std::process::Command;

use harness::{ClickHouse, Stack, documentation::Document, servers::root};
use serde_json::{Value, json};

/// A text with the ports and the topic of this system instead of the documented
/// ones.
fn for_stack(stack: &Stack, text: &str) -> String {
    let servers = stack.servers();
    let simulator = stack.simulator.base_url();
    let (_, simulator) = simulator.rsplit_once(':').unwrap();
    let ports = [
        ("8080", stack.instances[0].port.to_string()),
        ("8123", stack.clickhouse.port.to_string()),
        ("9092", servers.kafka_port.to_string()),
        ("8081", servers.registry_port.to_string()),
        ("8089", simulator.to_owned()),
    ];
    let mut text = text.replace("hubspot.records", &stack.topic("records"));
    let folder = stack.folder().display().to_string();
    text = text.replace(".data/", &format!("{folder}/"));
    for (documented, actual) in ports {
        for host in ["localhost", "127.0.0.1"] {
            let address = format!("{host}:{documented}");
            // Marked with a zero, so that this port is not replaced again.
            text = text.replace(&address, &format!("127.0.0.1:\0{actual}"));
        }
    }
    text.replace('\0', "")
}

/// Runs a command as a reader of the README would, in the repository.
async fn run(command: String) -> Result<String, String> {
    // The Python that has the packages of the tests.
    let command = match command.strip_prefix("python3 ") {
        Some(arguments) => format!("infra/native/stack python {arguments}"),
        None => command,
    };
    let shell = move || {
        Command::new("bash")
            .args(["-o", "pipefail", "-c", &command])
            .current_dir(root())
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(shell).await.unwrap();
    let (out, error) = (&output.stdout, &output.stderr);
    let (out, error) = (String::from_utf8_lossy(out), String::from_utf8_lossy(error));
    if output.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{}: {out}{error}", output.status))
    }
}

/// How the form of a value differs from the printed one.
fn difference(printed: &Value, got: &Value) -> Option<String> {
    match (printed, got) {
        (Value::Object(a), Value::Object(b)) => {
            if let Some(key) = a.keys().find(|it| !b.contains_key(*it)) {
                return Some(format!("{key} is missing"));
            }
            if let Some(key) = b.keys().find(|it| !a.contains_key(*it)) {
                return Some(format!("{key} is not printed"));
            }
            // Records differ in their properties.
            let mut pairs = a.iter().filter(|(key, _)| *key != "properties");
            pairs.find_map(|(key, value)| {
                difference(value, &b[key]).map(|why| format!("{key}: {why}"))
            })
        }
        (Value::Array(a), Value::Array(b)) => match (a.first(), b.first()) {
            (Some(a), Some(b)) => difference(a, b),
            (Some(_), None) => Some("it is empty".to_owned()),
            (None, _) => None,
        },
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => None,
        _ => Some(format!("{got} is of another type than {printed}")),
    }
}

/// The same of two lines: of JSON, or of cells between tabs.
fn difference_of_lines(printed: &str, got: &str) -> Option<String> {
    if let (Ok(a), Ok(b)) = (serde_json::from_str(printed), serde_json::from_str(got)) {
        return difference(&a, &b);
    }
    let cells = |line: &str| -> Vec<Option<String>> {
        let is_number = |it: &str| it.parse::<f64>().is_ok();
        line.split('\t')
            .map(|it| (!is_number(it)).then(|| it.to_owned()))
            .collect()
    };
    (cells(printed) != cells(got)).then(|| format!("{got} instead of {printed}"))
}

/// Runs the examples of a document, in order.
async fn examples_hold(stack: &Stack, document: &Document) -> usize {
    let examples = document.examples();
    for example in &examples {
        let place = document.at(example.line);
        let got = run(for_stack(stack, &example.command)).await;
        let got = got.unwrap_or_else(|error| panic!("{place}: {error}"));
        let lines: Vec<&str> = got.lines().collect();
        assert_eq!(lines.len(), example.output.len(), "{place}: {got}");
        for (printed, got) in example.output.iter().zip(lines) {
            if let Some(why) = difference_of_lines(printed, got) {
                panic!("{place}: {why}\n  printed: {printed}\n  got:     {got}");
            }
        }
    }
    examples.len()
}

/// Runs the statements of a document's blocks of SQL. A block is for the user
/// `reader`, unless it says otherwise.
async fn statements_run(stack: &Stack, document: &Document) -> usize {
    let mut count = 0;
    for block in document.blocks() {
        if block.language != "sql" {
            continue;
        }
        let user: ClickHouse = if block.text.starts_with("-- as writer") {
            stack.sql()
        } else {
            stack.sql_as_reader()
        };
        let lines = block.text.lines().filter(|it| !it.starts_with("--"));
        let text = for_stack(stack, &lines.collect::<Vec<_>>().join("\n"));
        for statement in text.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let place = document.at(block.line);
            let answer = user.try_query(statement).await;
            answer.unwrap_or_else(|error| panic!("{place}: {statement}\n{error}"));
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_readmes_runs_and_answers_as_printed() {
    for program in ["curl", "jq"] {
        let found = run(format!("command -v {program}")).await;
        assert!(found.is_ok(), "the READMEs' examples need {program}");
    }
    let stack = Stack::with(300, 30).start().await;
    stack.first_sync(json!({})).await;
    for object_type in ["contacts", "companies"] {
        stack.matches_truth(object_type).await;
    }
    let mut documents = Document::all();
    // The tour of the README at the root ends with a stop.
    documents.sort_by_key(|it| it.path.as_os_str() == "README.md");
    let (mut examples, mut statements) = (0, 0);
    for document in &documents {
        examples += examples_hold(&stack, document).await;
        statements += statements_run(&stack, document).await;
    }
    assert!(examples >= 8, "{examples} examples were found");
    assert!(statements >= 8, "{statements} statements were found");
}

#[test]
fn another_form_is_told_from_another_value() {
    let printed = r#"{"a":1,"b":[{"c":"x"}],"d":null,"properties":{"e":"f"}}"#;
    let same = r#"{"a":2,"b":[{"c":"y"},{"c":"z"}],"d":5,"properties":{}}"#;
    assert_eq!(difference_of_lines(printed, same), None);
    for other in [
        r#"{"a":"1","b":[{"c":"x"}],"d":null,"properties":{}}"#,
        r#"{"a":1,"b":[],"d":null,"properties":{}}"#,
        r#"{"a":1,"b":[{"g":"x"}],"d":null,"properties":{}}"#,
        r#"{"a":1,"d":null,"properties":{}}"#,
    ] {
        assert!(difference_of_lines(printed, other).is_some(), "{other}");
    }
    assert_eq!(difference_of_lines("20008\t183", "300\t3"), None);
    assert!(difference_of_lines("stopped", "running").is_some());
    assert!(difference_of_lines("20008\t183", "300").is_some());
}
