//! Disks that are full or not writable.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hub::ModelFiles;

use crate::{Machine, child, names};

#[test]
fn a_full_disk_is_named_and_leaves_no_damaged_file() {
    let file = "hf:a/lm/model.safetensors";
    if let Ok(argument) = std::env::var("CAPSMITH_CHILD") {
        let (cache, endpoint) = argument.split_once('|').unwrap();
        let mut machine = Machine::new();
        machine.options.cache = cache.into();
        machine.options.endpoint = endpoint.to_owned();
        let error = machine.resolve(file, ModelFiles::File).unwrap_err();
        println!("ERROR {error}");
        return;
    }
    let mut machine = Machine::with_models();
    let argument = format!("{}|{}", machine.options.cache.display(), machine.options.endpoint);
    let test = "disk::a_full_disk_is_named_and_leaves_no_damaged_file";
    // The limit leaves room for 100 KB of the file's 300 KB.
    let output = child(test, &argument, Some(200)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let blobs = machine.repository("a/lm").join("blobs");
    assert!(text.contains(&format!("ERROR cannot write {}", blobs.display())), "{text}");
    assert!(text.contains("hint: make room") && text.contains("HF_HOME"), "{text}");
    assert!(names(&blobs).is_empty(), "{:?}", names(&blobs));
    machine.resolve(file, ModelFiles::File).unwrap();
}

#[test]
fn a_cache_that_may_not_be_written_is_named() {
    let mut machine = Machine::with_models();
    let folder = machine.folder.path().join("locked");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::write(folder.join("probe"), "").is_ok();
    // Root may write everywhere except where the kernel refuses.
    machine.options.cache =
        if is_root { Path::new("/sys/kernel").to_owned() } else { folder.clone() };
    if is_root && !machine.options.cache.is_dir() {
        test_support::skip("a folder that this user cannot write", &"there is no /sys/kernel");
        return;
    }
    let error = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains(machine.options.cache.to_str().unwrap()), "{error}");
    assert!(error.contains("HF_HOME"), "{error}");
}

#[test]
fn a_file_where_the_cache_should_be_is_named() {
    let mut machine = Machine::with_models();
    fs::write(&machine.options.cache, "").unwrap();
    let error = machine.resolve("hf:a/lm", ModelFiles::LanguageModel).unwrap_err().to_string();
    assert!(error.contains(machine.options.cache.to_str().unwrap()), "{error}");
}
