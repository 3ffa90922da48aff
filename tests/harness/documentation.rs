//! The READMEs as data: their examples, links and names, which tests compare with
//! the repository and a running system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::servers::root;

/// Folders that are not part of the repository.
const FOREIGN: [&str; 6] = [
    ".data",
    ".git",
    "__pycache__",
    "node_modules",
    "target",
    "worktrees",
];

/// One Markdown file.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its path from the repository's root.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A fenced block.
#[derive(Debug, Clone, Default)]
pub struct Block {
    /// The word after the fence; may be empty.
    pub language: String,
    /// The lines between the fences.
    pub text: String,
    /// Number of its first line in the file, from 1.
    pub line: usize,
}

/// A command of a console block, with the output that is printed below it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Number of its line in the file, from 1.
    pub line: usize,
    /// What follows the `$`.
    pub command: String,
    /// The lines below it, up to an empty line or the next command.
    pub output: Vec<String>,
}

impl Document {
    /// All READMEs of the repository, and what is in `.github`; not the
    /// changelog, which names what is no longer there.
    pub fn all() -> Vec<Self> {
        let is_ours = |path: &PathBuf| {
            let markdown = path.extension().is_some_and(|it| it == "md");
            markdown && !path.ends_with("CHANGELOG.md")
        };
        let paths = files().into_iter().filter(is_ours);
        let mut all: Vec<_> = paths.map(Self::read).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The file at that path from the repository's root.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path));
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    open = Some(Block {
                        language: language.to_owned(),
                        line: number + 2,
                        ..Block::default()
                    });
                }
                (None, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        blocks
    }

    /// The lines outside of fenced blocks, with their numbers from 1.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            let is_fence = line.starts_with("```");
            fenced ^= is_fence;
            (!fenced && !is_fence).then_some((at + 1, line))
        })
    }

    /// The examples of its console blocks, in order.
    pub fn examples(&self) -> Vec<Example> {
        let mut examples: Vec<Example> = Vec::new();
        for block in self.blocks() {
            if block.language != "console" {
                continue;
            }
            let mut takes_output = false;
            for (at, line) in block.text.lines().enumerate() {
                if let Some(command) = line.strip_prefix("$ ") {
                    examples.push(Example {
                        line: block.line + at,
                        command: command.to_owned(),
                        output: Vec::new(),
                    });
                    takes_output = true;
                } else if line.is_empty() {
                    takes_output = false;
                } else if takes_output && let Some(example) = examples.last_mut() {
                    example.output.push(line.to_owned());
                }
            }
        }
        examples
    }

    /// The texts in backticks outside of fenced blocks, with line numbers.
    pub fn code_spans(&self) -> Vec<(usize, String)> {
        let spans = |(number, line): (usize, &str)| -> Vec<(usize, String)> {
            let inside = line.split('`').skip(1).step_by(2);
            inside.map(|it| (number, it.to_owned())).collect()
        };
        self.prose().flat_map(spans).collect()
    }

    /// The targets of its links, with line numbers.
    pub fn links(&self) -> Vec<(usize, String)> {
        let targets = |(number, line): (usize, &str)| -> Vec<(usize, String)> {
            let ends = line.split("](").skip(1).filter_map(|it| it.split_once(')'));
            ends.map(|(target, _)| (number, target.to_owned()))
                .collect()
        };
        self.prose().flat_map(targets).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|(_, line)| line.starts_with('#'));
        headings
            .map(|(_, line)| {
                let text = line.trim_start_matches('#').trim().to_lowercase();
                let kept = text
                    .chars()
                    .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
                kept.map(|it| if it == ' ' { '-' } else { it }).collect()
            })
            .collect()
    }

    /// Where it is, for a message.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// Every file of the repository, as paths from its root.
pub fn files() -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|it| it.to_str());
            if path.is_symlink() || name.is_none_or(|it| FOREIGN.contains(&it)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(&root) {
                found.push(relative.to_owned());
            }
        }
    }
    found
}

/// Whether that path, from the root, from `folder`, or as the end of a path of
/// the repository, is a file or a folder.
pub fn exists(files: &[PathBuf], folder: &Path, name: &str) -> bool {
    let name = name.trim_end_matches('/');
    let root = root();
    root.join(name).exists()
        || root.join(folder).join(name).exists()
        || files.iter().any(|file| {
            file.ancestors()
                .any(|it| !it.as_os_str().is_empty() && it.ends_with(name))
        })
}

/// Compiles the examples in Rust.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;

#[cfg(test)]
mod tests;
