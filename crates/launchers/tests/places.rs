//! Ranks from the variables of each launcher, and combinations that are refused.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use launchers::{Error, Meeting, Place};

fn environment(variables: &str) -> impl Fn(&str) -> Option<String> {
    let pairs: Vec<(String, String)> = variables
        .split_whitespace()
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect();
    move |wanted| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
}

fn place(variables: &str) -> Result<Place, Error> {
    Place::from(&environment(variables))
}

fn of(rank: usize, world_size: usize, local_rank: usize) -> Place {
    Place { rank, world_size, local_rank }
}

#[test]
fn each_launcher_is_understood() {
    for (variables, expected) in [
        ("", of(0, 1, 0)),
        ("RANK=3 WORLD_SIZE=4 LOCAL_RANK=1", of(3, 4, 1)),
        ("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1", of(1, 2, 1)),
        ("SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1", of(5, 8, 1)),
        // A step of two tasks in a job of eight.
        (
            "SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=2",
            of(1, 2, 0),
        ),
        // A batch script and a task of a SLURM array are single processes.
        ("SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_LOCALID=0", of(0, 1, 0)),
        ("SLURM_JOB_ID=7 SLURM_ARRAY_TASK_ID=3 SLURM_PROCID=0 SLURM_NTASKS=1", of(0, 1, 0)),
        ("JOB_COMPLETION_INDEX=2 WORLD_SIZE=4", of(2, 4, 0)),
        // An indexed job whose processes do not work together.
        ("JOB_COMPLETION_INDEX=2", of(0, 1, 0)),
        // torchrun in each pod of an indexed job, or in each task of srun.
        (
            "TORCHELASTIC_RUN_ID=x RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 JOB_COMPLETION_INDEX=2",
            of(5, 8, 1),
        ),
        (
            "TORCHELASTIC_RUN_ID=x RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 SLURM_PROCID=2 SLURM_NTASKS=4",
            of(5, 8, 1),
        ),
        // Two launchers that agree.
        ("RANK=1 WORLD_SIZE=2 SLURM_PROCID=1 SLURM_NTASKS=2", of(1, 2, 0)),
    ] {
        assert_eq!(place(variables), Ok(expected), "{variables}");
    }
}

#[test]
fn a_contradiction_names_both_variables_and_values() {
    for (variables, names) in [
        ("RANK=0 WORLD_SIZE=2 SLURM_PROCID=1 SLURM_NTASKS=2", ["RANK=0", "SLURM_PROCID=1"]),
        ("RANK=0 WORLD_SIZE=2 SLURM_PROCID=0 SLURM_NTASKS=4", ["WORLD_SIZE=2", "SLURM_NTASKS=4"]),
        (
            "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 SLURM_PROCID=1 SLURM_NTASKS=2",
            ["OMPI_COMM_WORLD_RANK=0", "SLURM_PROCID=1"],
        ),
        ("RANK=1 WORLD_SIZE=2 JOB_COMPLETION_INDEX=0", ["RANK=1", "JOB_COMPLETION_INDEX=0"]),
        (
            "RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_LOCALID=0",
            ["LOCAL_RANK=1", "SLURM_LOCALID=0"],
        ),
        ("RANK=2 WORLD_SIZE=2", ["RANK=2", "WORLD_SIZE=2"]),
    ] {
        let error = place(variables).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{variables}: {error}");
    }
}

#[test]
fn the_processes_of_this_machine_are_as_many_as_the_launcher_says() {
    for (variables, count) in [
        ("", 1),
        ("RANK=0 WORLD_SIZE=8", 1),
        ("LOCAL_WORLD_SIZE=4 WORLD_SIZE=8", 4),
        ("OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_SIZE=2", 2),
        ("SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=7 SLURM_STEP_NUM_NODES=2", 4),
        // The script of a batch job is a single process.
        ("SLURM_JOB_ID=7 SLURM_NTASKS=8 SLURM_STEP_NUM_NODES=2", 1),
        // torchrun in a task of srun.
        ("LOCAL_WORLD_SIZE=3 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2", 3),
        ("LOCAL_WORLD_SIZE=0", 1),
        ("OMPI_COMM_WORLD_LOCAL_SIZE=many", 1),
    ] {
        let environment = environment(variables);
        assert_eq!(launchers::processes_here_in(&environment), count, "{variables}");
    }
}

#[test]
fn halves_and_what_is_no_number_are_refused() {
    for (variables, name) in [
        ("RANK=0", "WORLD_SIZE"),
        ("WORLD_SIZE=2", "RANK"),
        ("SLURM_PROCID=0", "SLURM_PROCID"),
        ("RANK=first WORLD_SIZE=2", "RANK"),
        ("RANK=0 WORLD_SIZE=-2", "WORLD_SIZE"),
        ("RANK=0 WORLD_SIZE=0", "WORLD_SIZE"),
    ] {
        let error = place(variables).unwrap_err().to_string();
        assert!(error.contains(name), "{variables}: {error}");
    }
}

#[test]
fn where_processes_meet_is_said_or_can_be_told() {
    let two = Place { rank: 0, world_size: 2, local_rank: 0 };
    let meeting = |variables: &str| two.meeting_in(&environment(variables));
    let at = |host: &str, port| {
        Ok(Meeting { host: host.to_owned(), port, launcher_listens: false, restarts: 0 })
    };
    assert_eq!(meeting("MASTER_ADDR=a MASTER_PORT=4"), at("a", 4));
    assert_eq!(meeting("MASTER_ADDR=a"), at("a", 29500));
    let slurm = "SLURM_JOB_ID=12 SLURM_STEP_ID=1 SLURM_STEP_NODELIST=n[07-09]";
    assert_eq!(meeting(slurm), at("n07", 20373));
    assert_eq!(meeting(&format!("{slurm} MASTER_PORT=5")), at("n07", 5));
    assert_eq!(meeting("OMPI_COMM_WORLD_LOCAL_SIZE=2"), at("127.0.0.1", 29500));
    assert_eq!(meeting("OMPI_COMM_WORLD_LOCAL_SIZE=1"), Err(Error::NoMeeting(2)));
    assert_eq!(
        meeting(
            "MASTER_ADDR=a MASTER_PORT=4 TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2"
        ),
        Ok(Meeting { host: "a".into(), port: 4, launcher_listens: true, restarts: 2 })
    );
    assert!(
        meeting("MASTER_ADDR=a MASTER_PORT=70000").unwrap_err().to_string().contains("MASTER_PORT")
    );
}

#[test]
fn shares_hold_each_thing_once() {
    for world_size in 1..6 {
        let shares = (0..world_size).map(|rank| Place { rank, world_size, local_rank: 0 });
        let mut all: Vec<usize> = shares.flat_map(|place| place.share(11)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..11));
    }
}
