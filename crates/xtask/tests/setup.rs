//! Tests of `cargo xtask setup` with a fake python3 that installs packages of a few bytes.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use tempfile::TempDir;
use test_support::{wait_for, wait_for_path};

/// A repository and a simulated machine: PATH is `bin/` and the system's tools.
struct Machine {
    folder: TempDir,
}

/// Script of pip's `--target`: writes files, and a RECORD with their sizes for each package.
const GOOD_PIP: &str = r#"
while [ "$1" != "--target" ]; do shift; done
target=$2
package() { # package file
  mkdir -p "$target/$1.dist-info" "$target/$(dirname "$2")"
  printf 'contents of %s' "$2" > "$target/$2"
  size=$(wc -c < "$target/$2")
  printf '../../bin/tool,sha256=x,7\n%s,sha256=x,%s\n%s.dist-info/RECORD,,\n' "$2" "$size" "$1" > "$target/$1.dist-info/RECORD"
}
package torch-2.11.0 torch/lib/libtorch_cpu.so
package nvidia_cuda_cupti-13.0.85 nvidia/cu13/lib/libcupti.so.13
package nvidia_cuda_runtime-13.0.96 nvidia/cu13/lib/libcudart.so.13
"#;

impl Machine {
    /// Creates a machine; `pip_install` is the shell script of `python3 -m pip install …`.
    fn new(pip_install: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.path("repository/crates/xtask")).unwrap();
        fs::create_dir_all(machine.path("bin")).unwrap();
        machine.program("c++", "exit 0");
        machine.python(pip_install);
        machine
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn program(&self, name: &str, script: &str) {
        // Another process writes it. A file that this process, or a child forked meanwhile, has
        // open for writing cannot be executed ("text file busy").
        let write = Command::new("sh")
            .args([
                "-c",
                "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
                "sh",
                script,
            ])
            .arg(self.path("bin").join(name))
            .status();
        assert!(write.unwrap().success());
    }

    fn python(&self, pip_install: &str) {
        let calls = self.path("calls");
        self.program(
            "python3",
            &format!(
                "[ \"$1\" = --version ] && exit 0\n[ \"$3\" = --version ] && exit 0\n\
                 echo \"$@\" >> {}\n{pip_install}",
                calls.display()
            ),
        );
    }

    fn setup(&self) -> Command {
        self.task("setup")
    }

    fn task(&self, task: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg(task)
            .env_remove("LIBTORCH")
            .env_remove("CXX")
            .env("CARGO_MANIFEST_DIR", self.path("repository/crates/xtask"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command
    }

    /// Returns a pip that says that it has started, and installs once it may.
    fn waiting_pip(&self) -> String {
        let (started, may_go) = (self.path("started"), self.path("may-go"));
        format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.01; done; {GOOD_PIP}",
            started.display(),
            may_go.display()
        )
    }

    /// Lets [`Self::waiting_pip`] install.
    fn let_pip_go(&self) {
        fs::write(self.path("may-go"), "").unwrap();
    }

    /// Returns the number of pip installs.
    fn installs(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |calls| calls.lines().count())
    }

    fn library(&self) -> PathBuf {
        self.path("repository/.libtorch/torch/lib/libtorch_cpu.so")
    }

    fn partial(&self) -> PathBuf {
        self.path("repository/.libtorch.partial")
    }
}

fn output(mut command: Command) -> (bool, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

/// Starts a setup that prints to `file`.
fn start(mut command: Command, file: &Path) -> Child {
    command.stderr(fs::File::create(file).unwrap()).spawn().unwrap()
}

/// Returns whether a setup that prints to `file` waits for another one.
fn waits(file: &Path) -> bool {
    fs::read_to_string(file).unwrap().contains("waiting")
}

#[test]
fn a_first_setup_installs_and_a_second_says_so_in_one_line() {
    let machine = Machine::new(GOOD_PIP);
    let (ok, stderr) = output(machine.setup());
    assert!(ok, "{stderr}");
    assert!(machine.library().is_file());
    assert!(!machine.partial().exists());
    let asked = fs::read_to_string(machine.path("calls")).unwrap();
    for wanted in ["--no-deps", "torch==2.11.0", "nvidia-cuda-cupti==13.0.85"] {
        assert!(asked.contains(wanted), "{asked}");
    }

    let (ok, stderr) = output(machine.setup());
    assert!(ok, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(machine.installs(), 1);
}

#[test]
fn a_damaged_install_is_named_and_replaced() {
    type Damage = fn(&Machine);
    let damages: [(&str, Damage); 4] = [
        ("libtorch_cpu.so has 3 of", |machine| fs::write(machine.library(), "cut").unwrap()),
        ("libtorch_cpu.so is missing", |machine| fs::remove_file(machine.library()).unwrap()),
        ("RECORD is cut short", |machine| {
            let record = machine.path("repository/.libtorch/torch-2.11.0.dist-info/RECORD");
            fs::write(record, "torch/lib/").unwrap();
        }),
        ("nvidia_cuda_cupti-13.0.85.dist-info/RECORD", |machine| {
            let info = machine.path("repository/.libtorch/nvidia_cuda_cupti-13.0.85.dist-info");
            fs::remove_dir_all(info).unwrap();
        }),
    ];
    for (named, damage) in damages {
        let machine = Machine::new(GOOD_PIP);
        assert!(output(machine.setup()).0);
        damage(&machine);
        let (ok, stderr) = output(machine.setup());
        assert!(ok && stderr.contains(named), "{named}: {stderr}");
        assert_eq!(fs::read_to_string(machine.library()).unwrap().len(), 37);
        assert_eq!(machine.installs(), 2);
        assert!(!machine.partial().exists());
    }
}

#[test]
fn a_failing_pip_leaves_nothing_and_says_what_to_do() {
    let machine = Machine::new(&format!("{GOOD_PIP}\necho no such wheel >&2; exit 1"));
    let (ok, stderr) = output(machine.setup());
    assert!(!ok);
    assert!(stderr.contains("no such wheel") && stderr.contains("cargo xtask setup"), "{stderr}");
    assert!(!machine.library().exists() && !machine.partial().exists());
}

#[test]
fn a_pip_that_leaves_half_is_not_believed() {
    let machine =
        Machine::new(&format!("{GOOD_PIP}\nprintf half > $target/torch/lib/libtorch_cpu.so"));
    let (ok, stderr) = output(machine.setup());
    assert!(!ok && stderr.contains("libtorch_cpu.so has 4 of 37 bytes"), "{stderr}");
    assert!(!machine.library().exists());
}

#[test]
fn killed_during_pip_it_starts_over_once_the_orphaned_pip_has_ended() {
    let machine = Machine::new(GOOD_PIP);
    machine.python(&machine.waiting_pip());
    let mut first = start(machine.setup(), &machine.path("first"));
    wait_for_path(&machine.path("started"));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(machine.partial().exists() && !machine.library().exists());

    machine.python(GOOD_PIP);
    let second_file = machine.path("second");
    let mut second = start(machine.setup(), &second_file);
    wait_for("the second setup to find the orphaned pip", || waits(&second_file));
    assert!(second.try_wait().unwrap().is_none());
    machine.let_pip_go();
    assert!(second.wait().unwrap().success(), "{}", fs::read_to_string(second_file).unwrap());
    assert!(machine.library().is_file() && !machine.partial().exists());
}

#[test]
fn two_setups_at_once_install_once() {
    let machine = Machine::new(GOOD_PIP);
    machine.python(&machine.waiting_pip());
    let files = ["first", "second"].map(|name| machine.path(name));
    let mut children = files.each_ref().map(|file| start(machine.setup(), file));
    wait_for("one setup to find the other", || files.iter().any(|file| waits(file)));
    machine.let_pip_go();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(machine.installs(), 1);
}

#[test]
fn what_is_missing_on_the_machine_is_named_with_what_to_install() {
    let machine = Machine::new(GOOD_PIP);
    machine.program("python3", "exit 127");
    let (ok, stderr) = output(machine.setup());
    assert!(!ok && stderr.contains("python3 is not installed"), "{stderr}");
    assert!(stderr.contains("apt install python3-pip"), "{stderr}");

    machine.program("python3", "[ \"$1\" = --version ]");
    let (ok, stderr) = output(machine.setup());
    assert!(!ok && stderr.contains("not its pip"), "{stderr}");

    machine.program("c++", "exit 127");
    let (ok, stderr) = output(machine.setup());
    assert!(!ok && stderr.contains("apt install g++"), "{stderr}");
    assert!(!machine.partial().exists());
}

#[test]
fn without_pip_a_virtual_environment_lends_one() {
    let machine = Machine::new(GOOD_PIP);
    // `python3 -m venv FOLDER` copies a python that has pip.
    let lent = machine.path("lent");
    fs::copy(machine.path("bin/python3"), &lent).unwrap();
    let script = format!(
        "[ \"$1\" = --version ] && exit 0\n[ \"$2\" = venv ] || exit 1\n\
         mkdir -p \"$3/bin\" && cp {} \"$3/bin/python\"",
        lent.display()
    );
    machine.program("python3", &script);
    let (ok, stderr) = output(machine.setup());
    assert!(ok, "{stderr}");
    assert!(machine.library().is_file() && !machine.partial().exists());
}

#[test]
fn a_full_disk_is_refused_before_the_download() {
    let machine = Machine::new(GOOD_PIP);
    machine.program("df", "echo header; echo disk 9 9 1000000 1% /");
    let (ok, stderr) = output(machine.setup());
    assert!(!ok && stderr.contains("needs about 3 GB") && stderr.contains("1.0 GB"), "{stderr}");
    assert_eq!(machine.installs(), 0);
}

#[test]
fn a_libtorch_of_the_user_is_respected_when_it_can_work() {
    let machine = Machine::new(GOOD_PIP);
    let theirs = machine.path("theirs");
    fs::create_dir_all(theirs.join("lib")).unwrap();
    let setup = |value: &Path| {
        let mut command = machine.setup();
        command.env("LIBTORCH", value);
        output(command)
    };

    let (ok, stderr) = setup(&theirs);
    assert!(!ok && stderr.contains("lib/libtorch_cpu.so"), "{stderr}");
    fs::write(theirs.join("lib/libtorch_cpu.so"), "").unwrap();
    assert!(setup(&theirs).0);

    for (file, other, same) in [
        ("build-version", "2.5.1+cpu\n", "2.11.0+cpu\n"),
        ("version.py", "__version__ = '2.5.1+cu130'\n", "import x\n__version__ = '2.11.0+cu130'\n"),
    ] {
        let mut version = fs::File::create(theirs.join(file)).unwrap();
        version.write_all(other.as_bytes()).unwrap();
        let (ok, stderr) = setup(&theirs);
        assert!(!ok && stderr.contains("libtorch 2.5.1"), "{stderr}");
        fs::write(theirs.join(file), same).unwrap();
        assert!(setup(&theirs).0);
        fs::remove_file(theirs.join(file)).unwrap();
    }
    assert!(!setup(Path::new("theirs")).0, "torch-sys builds in another folder");
    assert_eq!(machine.installs(), 0);
}

#[test]
fn the_folder_that_cargo_configuration_names_is_ours_to_fill() {
    let machine = Machine::new(GOOD_PIP);
    let mut command = machine.setup();
    command.env("LIBTORCH", machine.path("repository/.libtorch/torch"));
    let (ok, stderr) = output(command);
    assert!(ok, "{stderr}");
    assert_eq!(machine.installs(), 1);
}

#[test]
fn the_last_line_counts_the_skipped_tests_of_all_processes() {
    let machine = Machine::new(GOOD_PIP);
    let run = |cargo: &str| {
        machine.program("cargo", cargo);
        let mut command = machine.task("test");
        command.env("CARGO", machine.path("bin/cargo")).env_remove("CARGO_TARGET_DIR");
        output(command)
    };
    let (ok, stderr) = run("echo 'some tests run' >&2");
    assert!(ok, "{stderr}");
    assert_eq!(stderr.lines().last(), Some("skipped no test"));
    let skips = "for line in 'data\tone a' 'data\tone a' 'data\ttwo a' 'a tool\tone b'; do \
                 printf \"$line\\n\" >> \"$CAPSMITH_SKIPPED\"; done; exit 3";
    // A count begins with each run, and is printed after a failure too.
    for _ in 0..2 {
        let (ok, stderr) = run(skips);
        assert!(!ok, "{stderr}");
        let line = "skipped 3 tests: 2 without data, 1 without a tool";
        assert_eq!(stderr.lines().last(), Some(line));
    }
}

#[test]
fn the_pretend_gpu_is_built_once_and_again_when_a_source_changes() {
    let machine = Machine::new(GOOD_PIP);
    // A compiler that writes its words to what `-o` names, and a cargo that prints what tests are told.
    let compile = "[ \"$1\" = --version ] && exit 0\nwords=\"$*\"\n\
                   while [ \"$1\" != -o ]; do shift; done\nprintf '%s' \"$words\" > \"$2\"";
    machine.program("c++", compile);
    machine.program("cargo", "echo \"tests run with [$CAPSMITH_PRETEND_CUDA]\" >&2");
    let sources = machine.path("repository/tests/pretend-cuda");
    fs::create_dir_all(&sources).unwrap();
    for file in ["pretend_cuda.cpp", "selftest.cpp", "memory.h"] {
        fs::write(sources.join(file), "source").unwrap();
    }
    let run = || {
        let mut command = machine.task("test");
        command.env("CARGO", machine.path("bin/cargo")).env_remove("CARGO_TARGET_DIR");
        output(command)
    };
    let ran = || {
        let (ok, stderr) = run();
        assert!(ok, "{stderr}");
        stderr
    };
    // This libtorch does not say which operators CUDA has.
    let said = ran();
    assert!(
        said.contains("native_functions.yaml is missing") && said.contains("with []"),
        "{said}"
    );

    let operators = machine.path("repository/.libtorch/torchgen/packaged/ATen/native");
    fs::create_dir_all(&operators).unwrap();
    fs::write(operators.join("native_functions.yaml"), "").unwrap();
    let folder = machine.path("repository/target/pretend-cuda");
    let said = ran();
    let told = format!("tests run with [{}]", folder.display());
    assert!(said.contains("building the pretend GPU") && said.contains(&told), "{said}");
    let library = fs::read_to_string(folder.join("libtorch_cuda.so")).unwrap();
    assert!(library.contains("-shared") && library.contains("pretend_cuda.cpp"), "{library}");
    assert!(folder.join("selftest").is_file());
    let said = ran();
    assert!(!said.contains("building") && said.contains(&told), "{said}");
    fs::write(sources.join("memory.h"), "another source").unwrap();
    let said = ran();
    assert!(said.contains("building the pretend GPU"), "{said}");

    // Where one does not compile, no test runs on an earlier one.
    fs::write(sources.join("memory.h"), "a mistake").unwrap();
    machine.program("c++", "[ \"$1\" = --version ]");
    let (ok, stderr) = run();
    assert!(
        !ok && stderr.contains("does not compile") && !stderr.contains("tests run"),
        "{stderr}"
    );
    assert!(!folder.join("stamp").exists());
}
