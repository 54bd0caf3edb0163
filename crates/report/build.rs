//! Records the commit of a release build, which the pages name.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A build for development would be repeated after each commit.
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return };
    println!("cargo:rustc-env=CAPSMITH_COMMIT={commit}");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
}
