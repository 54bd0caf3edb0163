//! Plans whose stages run a shell script in place of `capsmith`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use durable::kept::Key;
use studies::stages::{
    Damage, Input, Observer, Outcome, Plan, Resume, Runner, Stage, StageAction, State, run,
};
use test_support::wait_for_path;

/// Script with the commands `write FILE TEXT`, `fail TEXT` and `wait FILE`.
///
/// With `--resume`, `wait` writes `going on`; otherwise it ends with its standard input.
const PROGRAM: &str = r#"#!/bin/sh
case $1 in
    write) echo "writing $2"; echo "$3" >> "$2" ;;
    fail) echo "some words"; echo "error: $2" >&2; exit 3 ;;
    wait) if [ "$3" = --resume ]; then echo going on > "$2"; else touch "$2.begun"; cat > /dev/null; exit 143; fi ;;
esac
"#;

struct Place {
    folder: tempfile::TempDir,
    runner: Runner,
}

#[derive(Default)]
struct Heard {
    started: Mutex<Vec<(String, StageAction)>>,
    damaged: Mutex<Vec<String>>,
}

impl Observer for Heard {
    fn damaged(&self, _: &Plan, _: usize, damage: &Damage) {
        self.damaged.lock().unwrap().push(damage.reason().to_owned());
    }
    fn started(&self, plan: &Plan, at: usize, action: StageAction) {
        self.started.lock().unwrap().push((plan.stages()[at].name.clone(), action));
    }
    fn output(&self, _: &Plan, _: usize, _: &str) {}
    fn ended(&self, _: &Plan, _: usize, _: &Outcome) {}
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            runner: Runner { program, slots: 2, threads: 1, visible_devices: Vec::new() },
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.file("study"))
    }

    /// Runs a plan, and says which stages were started and what became of all.
    fn run(&self, plan: &Plan) -> (Vec<(String, StageAction)>, Vec<Outcome>) {
        let heard = Heard::default();
        let outcomes = run(plan, &self.runner, &heard, &AtomicBool::new(false)).unwrap();
        let mut started = heard.started.into_inner().unwrap();
        started.sort_by(|a, b| a.0.cmp(&b.0));
        (started, outcomes)
    }

    fn write(&self, name: &str, text: &str, after: &[usize]) -> Stage {
        let file = self.file(name);
        Stage {
            name: name.to_owned(),
            arguments: vec!["write".to_owned(), file.display().to_string(), text.to_owned()],
            after: after.to_vec(),
            outputs: vec![file],
            ..Stage::default()
        }
    }
}

fn add(plan: &mut Plan, stage: Stage) -> usize {
    plan.add(stage).unwrap()
}

fn names(started: &[(String, StageAction)]) -> Vec<&str> {
    started.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn finished_stages_are_kept_and_a_changed_input_redoes_just_what_depends_on_it() {
    let place = Place::new();
    let data = place.file("data");
    let three = |data_text: &str, middle: &str| {
        // Written only where it is to change: its time counts.
        if fs::read_to_string(&data).ok().as_deref() != Some(data_text) {
            fs::write(&data, data_text).unwrap();
        }
        let mut plan = place.plan();
        let first =
            Stage { inputs: vec![Input::Path(data.clone())], ..place.write("first", "a", &[]) };
        let first = plan.add(first).unwrap();
        let other = plan.add(place.write("other", "b", &[])).unwrap();
        let middle = plan.add(place.write("middle", middle, &[first])).unwrap();
        plan.add(place.write("last", "d", &[middle, other])).unwrap();
        plan
    };
    let plan = three("one", "c");
    assert_eq!(names(&place.run(&plan).0), ["first", "last", "middle", "other"]);
    let (started, outcomes) = place.run(&plan);
    assert!(started.is_empty() && outcomes.iter().all(|outcome| *outcome == Outcome::Kept));

    assert_eq!(names(&place.run(&three("one", "C")).0), ["last", "middle"]);
    let (started, _) = place.run(&three("other data", "C"));
    assert_eq!(names(&started), ["first", "last", "middle"]);
    assert!(started.iter().all(|(_, action)| *action == StageAction::Redo));
    // What was redone was moved aside first.
    assert_eq!(fs::read_to_string(place.file("middle")).unwrap(), "C\n");
    assert_eq!(fs::read_to_string(place.file("middle.previous")).unwrap(), "c\n");
    assert_eq!(fs::read_to_string(place.file("middle.previous-2")).unwrap(), "C\n");
    let changed = three("third data", "C");
    assert_eq!(changed.changes(0).unwrap(), [data.display().to_string()]);
    assert_eq!(changed.changes(1).unwrap(), [""; 0]);
    // The same contents with another time are the same input.
    fs::write(&data, "other data").unwrap();
    assert!(place.run(&three("other data", "C")).0.is_empty());
    let plan = three("other data", "C");
    plan.outdate().unwrap();
    assert_eq!(plan.action(1).unwrap(), StageAction::Redo);
    assert_eq!(names(&place.run(&plan).0).len(), 4);

    // A lost output is created again.
    assert!(place.run(&plan).0.is_empty());
    fs::remove_file(place.file("other")).unwrap();
    assert_eq!(names(&place.run(&plan).0), ["other"]);
}

#[test]
fn a_changed_output_is_noticed_and_made_again_and_a_changed_record_is_refused() {
    let place = Place::new();
    let mut plan = place.plan();
    let first = add(&mut plan, place.write("first", "one", &[]));
    add(&mut plan, place.write("second", "two", &[first]));
    place.run(&plan);
    let (file, changed) = (place.file("first"), fs::FileTimes::new());
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "onf\n").unwrap();
    assert_eq!(plan.action(0).unwrap(), StageAction::Restore);
    let heard = Heard::default();
    run(&plan, &place.runner, &heard, &AtomicBool::new(false)).unwrap();
    assert_eq!(*heard.started.lock().unwrap(), [("first".to_owned(), StageAction::Restore)]);
    let said = heard.damaged.lock().unwrap().join(" ");
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\n");
    let damaged = file.with_file_name(format!("{}.damaged", file.file_name().unwrap().display()));
    assert_eq!(fs::read_to_string(damaged).unwrap(), "onf\n");
    // An older time of the same bytes is no damage.
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_times(changed.set_modified(modified))
        .unwrap();
    assert!(place.run(&plan).0.is_empty());

    let record = place.file("study/stages/second.json");
    let text = fs::read_to_string(&record).unwrap();
    for bit in (0..text.len() * 8).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&record, bytes).unwrap();
        let error = plan.action(1).unwrap_err().to_string();
        assert!(error.contains("second.json") && error.contains("hint"), "{error}");
    }
}

#[test]
fn a_stage_of_version_0_1_0_is_kept_and_its_later_changes_are_noticed_by_name() {
    let place = Place::new();
    let plan = |config: &str| {
        let mut plan = place.plan();
        let inputs = vec![Input::text("config", config)];
        add(&mut plan, Stage { inputs, ..place.write("first", "one", &[]) });
        plan
    };
    place.run(&plan("old"));
    let file = place.file("study/stages/first.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["key"] = "0f3a".into();
    record.as_object_mut().unwrap().remove("sha256");
    fs::write(&file, record.to_string()).unwrap();
    assert!(place.run(&plan("old")).0.is_empty(), "the command is the same");
    let changed = plan("new");
    assert_eq!(changed.action(0).unwrap(), StageAction::Redo);
    assert_eq!(changed.changes(0).unwrap(), ["config"]);

    record["command"] = "capsmith write elsewhere".into();
    fs::write(&file, record.to_string()).unwrap();
    assert_eq!(plan("old").action(0).unwrap(), StageAction::Redo);
}

#[test]
fn a_stage_of_version_0_2_0_is_kept_while_its_inputs_keep_their_times() {
    let place = Place::new();
    let data = place.file("data");
    fs::write(&data, "one").unwrap();
    let plan = || {
        let mut plan = place.plan();
        let inputs = vec![Input::Path(data.clone())];
        add(&mut plan, Stage { inputs, ..place.write("first", "one", &[]) });
        plan
    };
    place.run(&plan());
    let file = place.file("study/stages/first.json");
    let record =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    let attributes = fs::metadata(&data).unwrap();
    let time = attributes.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let old_key = Key::new([("results version", 1)])
        .with_digest("arguments", &plan().stages()[0].arguments)
        .with_digest(&data.display().to_string(), &format!(" 3 {}\n", time.as_nanos()));
    let (key, mut old) = (record()["key"].clone(), record());
    old["key"] = serde_json::to_value(old_key).unwrap();
    old.as_object_mut().unwrap().remove("sha256");
    fs::write(&file, old.to_string()).unwrap();
    assert!(place.run(&plan()).0.is_empty());
    assert_eq!(record()["key"], key, "from then on it is one of contents");
    fs::write(&file, old.to_string()).unwrap();
    let later = attributes.modified().unwrap() + Duration::from_secs(9);
    fs::File::options().write(true).open(&data).unwrap().set_modified(later).unwrap();
    assert_eq!(plan().action(0).unwrap(), StageAction::Redo);
}

#[test]
fn a_failed_stage_stops_only_what_needs_it() {
    let place = Place::new();
    let mut plan = place.plan();
    let fail = |name: &str, optional| Stage {
        arguments: vec!["fail".to_owned(), format!("{name} is broken")],
        outputs: Vec::new(),
        optional,
        ..place.write(name, "", &[])
    };
    let bad = add(&mut plan, fail("bad", false));
    let spare = add(&mut plan, fail("spare", true));
    add(&mut plan, place.write("needs-bad", "x", &[bad]));
    add(&mut plan, place.write("needs-spare", "x", &[spare]));
    add(&mut plan, place.write("free", "x", &[]));
    let (_, outcomes) = place.run(&plan);
    assert_eq!(outcomes[0], Outcome::Failed { error: "bad is broken".to_owned() });
    assert_eq!(outcomes[2], Outcome::Skipped);
    assert!(matches!(outcomes[3], Outcome::Finished { .. }), "{outcomes:?}");
    assert!(matches!(outcomes[4], Outcome::Finished { .. }));
    let record = plan.record(bad).unwrap().unwrap();
    assert_eq!((record.state, record.error.as_deref()), (State::Failed, Some("bad is broken")));
}

#[test]
fn a_stopped_stage_goes_on_where_it_was() {
    let place = Place::new();
    let mut plan = place.plan();
    let file = place.file("slow");
    let slow = Stage {
        arguments: vec!["wait".to_owned(), file.display().to_string()],
        resume: Resume::With("--resume"),
        ..place.write("slow", "", &[])
    };
    add(&mut plan, slow);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for_path(&place.file("slow.begun"));
            stop.store(true, Ordering::Relaxed);
        });
        let outcomes = run(&plan, &place.runner, &Heard::default(), &stop).unwrap();
        assert_eq!(outcomes, [Outcome::Stopped]);
    });
    let (started, outcomes) = place.run(&plan);
    assert_eq!(started, [("slow".to_owned(), StageAction::Resume)]);
    assert!(matches!(outcomes[..], [Outcome::Finished { .. }]));
    assert_eq!(fs::read_to_string(&file).unwrap(), "going on\n");
}

#[test]
fn two_studies_in_one_folder_never_run_a_stage_twice() {
    let place = Place::new();
    let mut plan = place.plan();
    for number in 0..12 {
        add(&mut plan, place.write(&format!("stage-{number}"), "once", &[]));
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| place.run(&plan));
        }
    });
    for number in 0..12 {
        let text = fs::read_to_string(place.file(&format!("stage-{number}"))).unwrap();
        assert_eq!(text, "once\n", "stage {number}");
    }
}

#[test]
fn a_stage_waits_for_a_process_that_a_killed_study_left_behind() {
    let place = Place::new();
    let mut plan = place.plan();
    let at = add(&mut plan, place.write("late", "x", &[]));
    fs::create_dir_all(place.file("study/logs")).unwrap();
    let log = fs::File::create(plan.log_file(at)).unwrap();
    log.lock().unwrap();
    // It ends with its standard input.
    let mut orphan =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::from(log)).spawn().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stage = scope.spawn(|| {
            let (_, outcomes) = place.run(&plan);
            assert!(is_over.load(Ordering::SeqCst), "it did not wait");
            outcomes
        });
        // Several times as long as a study rests between two tries.
        std::thread::sleep(Duration::from_millis(200));
        is_over.store(true, Ordering::SeqCst);
        drop(orphan.stdin.take());
        assert!(matches!(stage.join().unwrap()[..], [Outcome::Finished { .. }]));
    });
    orphan.wait().unwrap();
}

#[test]
fn what_no_stage_has_made_is_not_touched() {
    let place = Place::new();
    let mut plan = place.plan();
    add(&mut plan, place.write("mine", "x", &[]));
    fs::write(place.file("mine"), "somebody's").unwrap();
    let error = run(&plan, &place.runner, &Heard::default(), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("stage mine would overwrite"), "{error}");
    assert_eq!(fs::read_to_string(place.file("mine")).unwrap(), "somebody's");
}
