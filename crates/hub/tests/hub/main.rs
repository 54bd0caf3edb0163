//! Models and data sets, fetched from a local server. Nothing here uses the network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands;
mod data_sets;
mod disk;
mod faults;
mod models;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hub::{Error, ModelFiles, ModelReference, Options};
use progress::Progress;
use server::Server;
use tempfile::TempDir;

/// A machine with a cache and a reachable hub.
struct Machine {
    folder: TempDir,
    server: Server,
    options: Options,
    /// Messages to the user so far.
    said: Vec<String>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start();
        let options = Options {
            cache: folder.path().join("hub"),
            other_caches: Vec::new(),
            endpoint: server.url(),
            token: None,
            offline: false,
            max_tries: 4,
            initial_backoff: Duration::from_millis(2),
            read_timeout: Duration::from_secs(20),
        };
        Self { folder, server, options, said: Vec::new() }
    }

    /// Returns a machine whose hub has a language model at `a/lm` and a CLIP model at `a/clip`.
    fn with_models() -> Self {
        let machine = Self::new();
        for repository in ["a/lm", "a/clip"] {
            machine.server.file(repository, "config.json", "{}");
            machine.server.file(repository, "vocab.json", "{\"a\": 1}");
            machine.server.file(repository, "merges.txt", "a b\n");
            machine.server.file(repository, "tokenizer_config.json", "{\"b\": 1}");
            machine.server.file(repository, "README.md", "hello");
            machine.server.file(repository, "pytorch_model.bin", vec![7; 5000]);
            machine.server.file(repository, "model.safetensors", weights());
        }
        machine.server.file("a/clip", "preprocessor_config.json", "{\"crop\": 224}");
        machine
    }

    fn resolve(&mut self, text: &str, wanted: ModelFiles) -> Result<PathBuf, Error> {
        let reference = ModelReference::parse(text).unwrap();
        let options = self.options.clone();
        hub::resolve(&reference, wanted, &options, self)
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.options.cache.join(format!("models--{}", name.replace('/', "--")))
    }
}

impl Progress for Machine {
    fn note(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }
}

/// Returns 300,000 bytes without repetition.
fn weights() -> Vec<u8> {
    let mut state = 1_u64;
    (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// Returns the sorted names in a folder; none if the folder does not exist.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs one test of this binary in a child process, which sees `CAPSMITH_CHILD`.
///
/// With `limit`, no file may become longer than that many blocks of 512 bytes.
fn child(test: &str, argument: &str, limit: Option<u32>) -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match limit {
        Some(blocks) => {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
            command.arg(program);
            command
        }
        None => std::process::Command::new(program),
    };
    command.args([test, "--exact", "--nocapture"]).env("CAPSMITH_CHILD", argument);
    command
}
