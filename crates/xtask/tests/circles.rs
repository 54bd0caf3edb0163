//! Checks that no two files of a crate import each other.
//!
//! Reads the sources as text: `use` items, and paths that begin with `crate::` or `super::`. A name
//! that a module only re-exports counts as an import of the file that defines it. Unit tests, and
//! re-exports themselves, do not count.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Path of a module below its crate, or of an item below its module.
type Names = Vec<String>;

/// Import of one name.
#[derive(Clone, Debug)]
struct Import {
    path: Names,
    /// Name that the importing file gives it.
    name: String,
    is_public: bool,
}

/// Source file of a module.
struct Module {
    file: PathBuf,
    imports: Vec<Import>,
    /// Paths that the code names without importing them.
    paths: Vec<Names>,
}

/// Modules of a crate by their paths.
struct Crate(BTreeMap<Names, Module>);

impl Crate {
    fn read(root: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for file in sources(root) {
            let relative = file.strip_prefix(root).unwrap().to_owned();
            let mut names: Names =
                relative.with_extension("").iter().map(|name| name.display().to_string()).collect();
            // Other programs of the package are crates of their own.
            if names[0] == "bin" {
                continue;
            }
            let last = names.last().unwrap();
            if last == "mod" || (names.len() == 1 && ["lib", "main"].contains(&last.as_str())) {
                names.pop();
            }
            let (imports, paths) = parse(&fs::read_to_string(&file).unwrap());
            modules.insert(names, Module { file: relative, imports, paths });
        }
        Self(modules)
    }

    /// Returns the module whose file defines what `path` names in `module`; none for other crates.
    fn definition(&self, module: &[String], path: &[String], depth: usize) -> Option<Names> {
        let mut at = match path[0].as_str() {
            "crate" => Vec::new(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            "self" => module.to_vec(),
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.0.contains_key(&child).then_some(())?;
                child
            }
        };
        let mut rest = &path[1..];
        while let Some(name) = rest.first() {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            if name == "super" {
                at.pop()?;
            } else if self.0.contains_key(&child) {
                at = child;
            } else {
                break;
            }
            rest = &rest[1..];
        }
        let imports = &self.0.get(&at)?.imports;
        let passed_on = rest.first().filter(|_| depth < 8).and_then(|name| {
            let import = imports.iter().find(|import| import.name == *name)?;
            self.definition(&at, &import.path, depth + 1)
        });
        Some(passed_on.unwrap_or(at))
    }

    /// Returns the pairs of files that import each other.
    fn circles(&self) -> Vec<(String, String)> {
        let mut imports = BTreeSet::new();
        for (module, source) in &self.0 {
            let used = source.imports.iter().filter(|import| !import.is_public);
            for path in used.map(|import| &import.path).chain(&source.paths) {
                let definition = self.definition(module, path, 0);
                imports.extend(definition.map(|definition| (module, definition)));
            }
        }
        let file = |module: &Names| self.0[module].file.display().to_string();
        let circles = imports.iter().filter(|(from, to)| {
            *from < to
                && self
                    .0
                    .get_key_value(to)
                    .is_some_and(|(to, _)| imports.contains(&(to, (*from).clone())))
        });
        circles.map(|(from, to)| (file(from), file(to))).collect()
    }
}

/// Returns the Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the imports of a file, and the other paths in it that begin with `crate` or `super`.
fn parse(text: &str) -> (Vec<Import>, Vec<Names>) {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let (mut imports, mut others) = (Vec::new(), String::new());
    let mut rest = code.as_str();
    while let Some((before, after)) = next_use(rest) {
        others += before;
        let line = before.rsplit('\n').next().unwrap();
        let (tree, behind) = after.split_once(';').unwrap();
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        expand(&tree, &[], line.trim_start().starts_with("pub"), &mut imports);
        rest = behind;
    }
    others += rest;
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in others.match_indices(start) {
            let is_start =
                !others[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
            let path: String = others[at..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || "_:".contains(*c))
                .collect();
            if is_start {
                let names = path.split("::").filter(|name| !name.is_empty());
                paths.push(names.map(str::to_owned).collect());
            }
        }
    }
    (imports, paths)
}

/// Splits at the next `use` item, which it leaves out.
fn next_use(code: &str) -> Option<(&str, &str)> {
    let found = code.match_indices("use ").find(|(at, _)| {
        let line = code[..*at].rsplit('\n').next().unwrap().trim();
        line.is_empty() || line.starts_with("pub") && !line.contains(['=', '{', ':'])
    });
    found.map(|(at, word)| (&code[..at], &code[at + word.len()..]))
}

/// Adds the imports of a tree such as `a::{b, c::D as E}`.
fn expand(tree: &str, before: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let names = head.split("::").map(str::trim).filter(|name| !name.is_empty());
        let before: Names = before.iter().cloned().chain(names.map(str::to_owned)).collect();
        let group = &group[..group.rfind('}').unwrap()];
        let mut depth = 0;
        let parts = group.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        for part in parts.filter(|part| !part.trim().is_empty()) {
            expand(part, &before, is_public, imports);
        }
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, as_)| (path, Some(as_)));
    let mut path: Names =
        before.iter().cloned().chain(path.split("::").map(|name| name.trim().to_owned())).collect();
    if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
        path.pop();
    }
    let name = alias.map_or_else(|| path.last().unwrap().clone(), |alias| alias.trim().to_owned());
    imports.push(Import { path, name, is_public });
}

#[test]
fn no_two_files_of_a_crate_import_each_other() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(crates).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().display().to_string();
        let root = if name == "cli" { folder } else { folder.join("src") };
        if root.is_dir() {
            let circles = Crate::read(&root).circles();
            found.extend(circles.iter().map(|(one, other)| format!("{name}: {one} {other}")));
        }
    }
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "these files import each other:\n{}", found.join("\n"));
}

#[test]
fn circles_are_found_through_groups_and_re_exports_but_not_in_unit_tests() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\n"),
        ("a.rs", "use crate::{\n    b::{self, B},\n    c::C as Other,\n};\npub struct A;\n"),
        ("b.rs", "fn f(_: crate::A) {}\npub struct B;\n"),
        ("c.rs", "// crate::A\npub struct C;\n#[cfg(test)]\nmod tests {\n    use crate::A;\n}\n"),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let circles = Crate::read(folder.path()).circles();
    assert_eq!(circles, [("a.rs".to_owned(), "b.rs".to_owned())]);
}
