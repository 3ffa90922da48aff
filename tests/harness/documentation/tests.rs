//! The documents against the repository: what they name is there.

use std::collections::HashSet;

use super::*;

/// Endings of files that a document may name.
const ENDINGS: [&str; 15] = [
    "avsc", "c", "html", "json", "lock", "md", "mjs", "py", "rs", "sh", "sql", "toml", "txt",
    "xml", "yaml",
];
/// Endings of the files in which names that a document mentions are searched.
const SOURCES: [&str; 9] = [
    "avsc", "example", "json", "py", "rs", "sh", "sql", "toml", "xml",
];

/// Fails with all complaints at once.
fn expect_no_complaint(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|it| it.to_str());
    ending.is_some_and(|it| endings.contains(&it))
}

/// Whether a text in backticks looks like a file or folder of the repository.
fn looks_like_a_path(text: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || "_./-".contains(it);
    if text.starts_with(['/', '~']) || text.starts_with("target/") || !text.chars().all(plain) {
        return false;
    }
    let first = text.split('/').next().unwrap_or_default();
    let is_below_root = text.contains('/') && !first.is_empty() && root().join(first).exists();
    let has_name = !text.starts_with('.') && has_ending(Path::new(text), &ENDINGS);
    is_below_root || has_name
}

/// Every source of the repository, as one text.
fn sources() -> String {
    let is_source = |path: &PathBuf| {
        has_ending(path, &SOURCES) || path.starts_with("infra") || path.ends_with("Makefile")
    };
    let texts = files().into_iter().filter(is_source);
    texts
        .filter_map(|path| fs::read_to_string(root().join(path)).ok())
        .collect()
}

#[test]
fn the_readme_at_the_root_is_one_page() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines, 150 are allowed");
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading_in_it() {
    let mut complaints = Vec::new();
    let documents = Document::all();
    let changelog = Document::read("CHANGELOG.md");
    for document in documents.iter().chain([&changelog]) {
        let folder = document.path.parent().unwrap();
        for (line, target) in document.links() {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                root().join(&document.path)
            } else {
                root().join(folder).join(file)
            };
            if !path.exists() {
                complaints.push(format!("{}: no file {target}", document.at(line)));
            } else if !anchor.is_empty()
                && !Document::read(path).anchors().iter().any(|it| it == anchor)
            {
                complaints.push(format!("{}: no heading {target}", document.at(line)));
            }
        }
    }
    expect_no_complaint(&complaints);
}

#[test]
fn every_path_in_backticks_is_in_the_repository() {
    let files = files();
    let mut complaints = Vec::new();
    for document in Document::all() {
        let folder = document.path.parent().unwrap();
        for (line, text) in document.code_spans() {
            if looks_like_a_path(&text) && !exists(&files, folder, &text) {
                complaints.push(format!("{}: no file `{text}`", document.at(line)));
            }
        }
    }
    expect_no_complaint(&complaints);
}

#[test]
fn every_function_in_backticks_is_in_a_source() {
    let sources = sources();
    let is_name =
        |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    let mut complaints = Vec::new();
    for document in Document::all() {
        for (line, text) in document.code_spans() {
            let name = text.strip_suffix("()").filter(|it| is_name(it));
            let Some(name) = name else { continue };
            let forms = ["(", "<"].map(|it| format!("fn {name}{it}"));
            let shell = format!("\n{name}() {{");
            if !forms.iter().chain([&shell]).any(|it| sources.contains(it)) {
                complaints.push(format!("{}: no function `{text}`", document.at(line)));
            }
        }
    }
    expect_no_complaint(&complaints);
}

#[test]
fn every_type_and_variable_in_backticks_is_in_a_source() {
    let sources = sources();
    let is_type = |it: &str| {
        let alphanumeric = it.bytes().all(|it| it.is_ascii_alphanumeric());
        let capitals = it.bytes().filter(u8::is_ascii_uppercase).count();
        let small = it.bytes().any(|it| it.is_ascii_lowercase());
        alphanumeric && it.starts_with(|it: char| it.is_ascii_uppercase()) && capitals > 1 && small
    };
    let is_variable = |it: &str| {
        it.contains('_')
            && it
                .bytes()
                .all(|it| it.is_ascii_uppercase() || b"_".contains(&it))
    };
    let mut complaints = Vec::new();
    for document in Document::all() {
        for (line, text) in document.code_spans() {
            let name = text.split(['=', ':', ' ']).next().unwrap_or_default();
            // A flag is the variable in small letters, which clap makes of a field.
            let is_known = sources.contains(name)
                || (is_variable(name) && sources.contains(&name.to_lowercase()));
            if (is_type(name) || is_variable(name)) && !is_known {
                complaints.push(format!("{}: nothing is named `{name}`", document.at(line)));
            }
        }
    }
    expect_no_complaint(&complaints);
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: HashSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    let mut complaints = Vec::new();
    for document in Document::all() {
        let blocks = document.blocks();
        let fenced = blocks.iter().flat_map(|block| {
            let lines = block.text.lines().enumerate();
            lines.map(|(at, line)| (block.line + at, line.to_owned()))
        });
        for (line, text) in document.code_spans().into_iter().chain(fenced) {
            let text = text.rsplit("&& ").next().unwrap_or_default();
            let Some(rest) = text.strip_prefix("make ") else {
                continue;
            };
            let named = rest.split(' ').take_while(|it| {
                !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
            });
            for target in named.filter(|it| !targets.contains(it)) {
                complaints.push(format!("{}: no target {target}", document.at(line)));
            }
        }
    }
    expect_no_complaint(&complaints);
}

#[test]
fn an_example_has_the_lines_below_its_command() {
    let document = Document {
        path: PathBuf::from("x.md"),
        text: "text\n\n```console\n$ a b\n1\n2\n\n$ c\n```\n```sh\n$ d\n```\n".to_owned(),
    };
    let examples = document.examples();
    let found: Vec<_> = examples
        .iter()
        .map(|it| (it.line, it.command.as_str(), it.output.join("|")))
        .collect();
    assert_eq!(
        found,
        [(4, "a b", "1|2".to_owned()), (8, "c", String::new())]
    );
}
