//! Rank, world size and rendezvous address of this process, as set by its launcher.
//!
//! torchrun, mpirun (Open MPI), srun and Kubernetes' indexed jobs each set their own environment
//! variables. [`ProcessRank::from_env`] reads all of them and requires them to agree. This crate
//! does not communicate with other processes.

mod claims;
mod error;
mod hosts;

use claims::Claims;

pub use error::Error;

/// All variables that this crate reads, to unset for a child process outside the job.
pub const VARIABLES: [&str; 23] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_RESTART_COUNT",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_LOCALID",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NUM_NODES",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_NODELIST",
    "JOB_COMPLETION_INDEX",
];

/// Default port of the rendezvous, the same as torch.distributed's.
const DEFAULT_PORT: u16 = 29500;

/// Rank of one process and world size of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRank {
    /// Rank in the job, from 0.
    pub rank: usize,
    /// Number of processes in the job, at least 1.
    pub world_size: usize,
    /// Rank among the processes of this machine, from 0. Chooses the GPU.
    pub local_rank: usize,
}

/// Rendezvous address of a job's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// True if the launcher already listens there; otherwise rank 0 has to listen.
    pub launcher_listens: bool,
    /// Number of times that the launcher has restarted the job.
    pub restarts: u64,
}

impl Default for ProcessRank {
    fn default() -> Self {
        Self::SINGLE
    }
}

impl ProcessRank {
    /// Rank of a process that is not part of a distributed job.
    pub const SINGLE: Self = Self { rank: 0, world_size: 1, local_rank: 0 };

    /// Returns this process's rank; [`ProcessRank::SINGLE`] without a launcher.
    ///
    /// # Errors
    /// Fails if launchers' variables contradict each other or are incomplete.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_vars(&environment)
    }

    /// Returns the rank given by `environment`, which maps a variable to its value if set.
    ///
    /// - Under torchrun (`TORCHELASTIC_RUN_ID`) only its own variables count, since it may start
    ///   its processes from within a task of srun or a pod.
    /// - The script of a SLURM batch job is no task of it: `SLURM_PROCID` counts only in a step.
    /// - `JOB_COMPLETION_INDEX` is a rank only if another variable gives the world size: the pods
    ///   of an indexed job need not work together.
    ///
    /// # Errors
    /// Same as [`Self::from_env`].
    pub fn from_vars(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let claims = Claims::new(environment)?;
        let Some(size) = claims.world_size()? else {
            return match claims.rank_without_size() {
                Some(given) => Err(Error::Missing { given, missing: "WORLD_SIZE" }),
                None => Ok(Self::SINGLE),
            };
        };
        let rank =
            claims.rank()?.ok_or(Error::Missing { given: size.variable, missing: "RANK" })?;
        if rank.value >= size.value {
            return Err(Error::RankTooHigh {
                rank_variable: rank.variable,
                rank: rank.value,
                size_variable: size.variable,
                size: size.value,
            });
        }
        let local_rank = claims.local_rank()?.unwrap_or(0);
        Ok(Self { rank: rank.value, world_size: size.value, local_rank })
    }

    /// Returns true if the world size is 1.
    #[must_use]
    pub fn is_single(self) -> bool {
        self.world_size == 1
    }

    /// Returns this rank's shard of the indices below `count`: every `world_size`-th, from `rank`.
    ///
    /// The shards of all ranks together hold each index once.
    pub fn shard(self, count: usize) -> impl Iterator<Item = usize> {
        (self.rank..count).step_by(self.world_size)
    }

    /// Returns this process's device for the configured device `name`.
    ///
    /// In a distributed job, `cuda` without a number becomes the GPU of the local rank.
    #[must_use]
    pub fn device_name(self, name: &str) -> String {
        if name == "cuda" && !self.is_single() {
            return format!("cuda:{}", self.local_rank);
        }
        name.to_owned()
    }

    /// Returns the rendezvous address of the job.
    ///
    /// # Errors
    /// Fails if no variable gives it.
    pub fn rendezvous(self) -> Result<Rendezvous, Error> {
        self.rendezvous_from(&environment)
    }

    /// Returns the rendezvous address that `environment` gives.
    ///
    /// It is `MASTER_ADDR` and `MASTER_PORT`. Without them it is the first host of the step and a
    /// port derived from the job number under srun, and the local machine under mpirun on one
    /// machine.
    ///
    /// # Errors
    /// Same as [`Self::rendezvous`].
    pub fn rendezvous_from(
        self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Rendezvous, Error> {
        let number = |variable| claims::number(environment, variable);
        let port = match environment("MASTER_PORT") {
            None => None,
            Some(value) => Some(value.parse().ok().filter(|&port: &u16| port > 0).ok_or(
                Error::NotANumber { variable: "MASTER_PORT", value, range: " from 1 to 65535" },
            )?),
        };
        let (host, usual_port) = if let Some(host) = environment("MASTER_ADDR") {
            (host, DEFAULT_PORT)
        } else if let Some(host) = hosts::first(environment)? {
            // Two jobs on one machine must not use the same port.
            let job = number("SLURM_JOB_ID")?.unwrap_or(0);
            let step = number("SLURM_STEP_ID")?.unwrap_or(0);
            (host, 20_000 + (job.wrapping_mul(31).wrapping_add(step) % 10_000) as u16)
        } else if number("OMPI_COMM_WORLD_LOCAL_SIZE")? == Some(self.world_size) {
            ("127.0.0.1".to_owned(), DEFAULT_PORT)
        } else {
            return Err(Error::NoRendezvous(self.world_size));
        };
        let is_true = |value: String| value.eq_ignore_ascii_case("true") || value == "1";
        Ok(Rendezvous {
            host,
            port: port.unwrap_or(usual_port),
            launcher_listens: environment("TORCHELASTIC_USE_AGENT_STORE").is_some_and(is_true),
            restarts: number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) as u64,
        })
    }
}

/// Returns the number of the job's processes on this machine; 1 if no launcher gives it.
#[must_use]
pub fn local_world_size() -> usize {
    local_world_size_from(&environment)
}

/// Returns [`local_world_size`] for an environment.
///
/// For a SLURM step it is the mean over its machines, rounded up.
#[must_use]
pub fn local_world_size_from(environment: &dyn Fn(&str) -> Option<String>) -> usize {
    let number = |variable| environment(variable)?.trim().parse::<usize>().ok();
    let of_step = || {
        environment("SLURM_STEP_ID")?;
        Some(number("SLURM_STEP_NUM_TASKS")?.div_ceil(number("SLURM_STEP_NUM_NODES")?.max(1)))
    };
    let given = number("LOCAL_WORLD_SIZE").or_else(|| number("OMPI_COMM_WORLD_LOCAL_SIZE"));
    given.or_else(of_step).unwrap_or(1).max(1)
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
