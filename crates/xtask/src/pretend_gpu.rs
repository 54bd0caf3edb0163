//! Build of the pretend GPU of `tests/pretend-cuda` and its self-test.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::install::remove;
use crate::needs;

/// Rules of operators, which come with the Python package of libtorch.
const OPERATORS: &str = "torchgen/packaged/ATen/native/native_functions.yaml";

/// Builds the library and its self-test if a source, the compiler or libtorch changed.
///
/// Returns their folder in `target`; `None`, with a message, if this libtorch lacks what it takes.
///
/// # Errors
/// Fails if a source cannot be read or compiled.
pub fn build(repository: &Path, target: &Path, libtorch: &Path) -> anyhow::Result<Option<PathBuf>> {
    let folder = target.join("pretend-cuda");
    let operators = libtorch.parent().unwrap_or(libtorch).join(OPERATORS);
    if !operators.is_file() {
        eprintln!(
            "tests on the pretend GPU are skipped: {} is missing; it comes with the Python package \
             torch (`cargo xtask setup`)",
            operators.display()
        );
        remove(&folder)?;
        return Ok(None);
    }
    let sources = repository.join("tests/pretend-cuda");
    let stamp = stamp(&sources, libtorch)?;
    let stamp_file = folder.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|built| built == stamp) {
        return Ok(Some(folder));
    }
    // Without its stamp, a build that is interrupted starts over.
    remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    eprintln!("building the pretend GPU in {}", folder.display());
    let compile = |source: &str, out: &str, options: &[&str]| {
        let (include, library) = (libtorch.join("include"), libtorch.join("lib"));
        let mut command = needs::cxx();
        command.args(["-std=c++17", "-O1", "-g1"]).arg(sources.join(source));
        command.arg("-I").arg(&include);
        command.arg("-I").arg(include.join("torch/csrc/api/include"));
        command.arg("-o").arg(folder.join(out)).args(options);
        command.arg("-L").arg(&library).args(["-ltorch_cpu", "-lc10", "-ldl"]);
        command.arg(format!("-Wl,-rpath,{}", library.display()));
        finish(command, source)
    };
    std::thread::scope(|scope| {
        let self_test = scope.spawn(|| compile("selftest.cpp", "selftest", &[]));
        let shared = ["-fPIC", "-shared", "-Wl,--no-undefined"];
        compile("pretend_cuda.cpp", "libtorch_cuda.so", &shared)?;
        self_test.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    fs::write(&stamp_file, stamp)
        .with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(Some(folder))
}

/// Returns a text that depends on the sources, the compiler and libtorch.
fn stamp(sources: &Path, libtorch: &Path) -> anyhow::Result<String> {
    let cannot_read = |path: &Path| format!("cannot read {}", path.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(sources).with_context(|| cannot_read(sources))? {
        names.push(entry.with_context(|| cannot_read(sources))?.path());
    }
    names.sort();
    let mut hasher = DefaultHasher::new();
    for path in names.iter().filter(|path| path.extension().is_some_and(|end| end != "md")) {
        path.hash(&mut hasher);
        fs::read(path).with_context(|| cannot_read(path))?.hash(&mut hasher);
    }
    let library = libtorch.join("lib/libtorch_cpu.so");
    let metadata = fs::metadata(&library).with_context(|| cannot_read(&library))?;
    metadata.len().hash(&mut hasher);
    metadata.modified().ok().hash(&mut hasher);
    Ok(format!("{:?} {} {:016x}\n", needs::cxx(), library.display(), hasher.finish()))
}

fn finish(mut command: Command, source: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        status.success(),
        "tests/pretend-cuda/{source} does not compile ({status}; the compiler's message is above)"
    );
    Ok(())
}
