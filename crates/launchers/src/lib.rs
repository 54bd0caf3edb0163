//! Which of how many processes this one is, as its launcher says, and where they meet.
//!
//! torchrun, mpirun (Open MPI), srun and Kubernetes' indexed jobs each tell a process its place by
//! environment variables of their own. [`Place::from_env`] reads them all; what they say must agree.
//! Nothing here talks to another process.

mod claims;
mod hosts;

use claims::Claims;

/// The variables that are read, for those who start a process that is not one of the launcher's.
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

/// The port at which processes meet unless told otherwise; torch.distributed's.
const DEFAULT_PORT: u16 = 29500;

/// One process among those of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub rank: usize,
    /// How many processes there are, at least 1.
    pub world_size: usize,
    /// Its number among the processes of its machine, from 0: which GPU is its own.
    pub local_rank: usize,
}

/// Where the processes of a job find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The launcher listens there already; otherwise rank 0 has to.
    pub launcher_listens: bool,
    /// How often the launcher has started the job anew.
    pub restarts: u64,
}

/// What launchers say cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Two variables that speak of one thing.
    #[error(
        "{first}={first_value} and {second}={second_value} contradict each other; unset those that the launcher of this process did not set (env -u {second})"
    )]
    Contradiction {
        /// A variable.
        first: &'static str,
        /// Its value.
        first_value: usize,
        /// Another.
        second: &'static str,
        /// Its value.
        second_value: usize,
    },
    /// A variable that is no number.
    #[error("{variable} is {value:?}, but must be a whole number{range}")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is accepted besides.
        range: &'static str,
    },
    /// A rank that the job does not have.
    #[error(
        "{rank_variable}={rank}, but {size_variable}={size}: ranks go from 0 to one below the number of processes"
    )]
    RankTooHigh {
        /// The variable of the rank.
        rank_variable: &'static str,
        /// The rank.
        rank: usize,
        /// The variable of the number of processes.
        size_variable: &'static str,
        /// The number of processes.
        size: usize,
    },
    /// Half of what is needed.
    #[error("{given} is set, but {missing} is not; set both, or neither")]
    Missing {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Nobody says where the processes meet.
    #[error(
        "there are {0} processes, but nothing says where they meet; set MASTER_ADDR to the host of rank 0 (and MASTER_PORT, unless 29500 is free there)"
    )]
    NoMeeting(usize),
    /// A list of hosts that cannot be read.
    #[error("{variable} is {value:?}, which is no list of hosts; set MASTER_ADDR")]
    Hosts {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

impl Default for Place {
    fn default() -> Self {
        Self::ALONE
    }
}

impl Place {
    /// A process by itself.
    pub const ALONE: Self = Self { rank: 0, world_size: 1, local_rank: 0 };

    /// This process's place; alone where no launcher speaks.
    ///
    /// # Errors
    /// Where launchers' variables contradict each other, or are half there.
    pub fn from_env() -> Result<Self, Error> {
        Self::from(&environment)
    }

    /// The place in an environment: a variable's value, if it is set.
    ///
    /// - Under torchrun (`TORCHELASTIC_RUN_ID`) its variables count and no others, since it starts its
    ///   processes from within a task of srun or a pod.
    /// - The script of a SLURM batch job is no task of it: `SLURM_PROCID` counts in a step only.
    /// - `JOB_COMPLETION_INDEX` is a rank where something else says how many there are: an indexed
    ///   job need not be one of processes that work together.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let claims = Claims::new(environment)?;
        let Some(size) = claims.world_size()? else {
            return match claims.rank_without_size() {
                Some(given) => Err(Error::Missing { given, missing: "WORLD_SIZE" }),
                None => Ok(Self::ALONE),
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

    /// Whether there is no other process.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self.world_size == 1
    }

    /// Of a list of so many things the numbers of those that are this process's, every
    /// `world_size`-th: together the processes have each once.
    pub fn share(self, count: usize) -> impl Iterator<Item = usize> {
        (self.rank..count).step_by(self.world_size)
    }

    /// The device of this process where all are told the same `name`: of `cuda` without a number each
    /// process of a machine takes its own GPU.
    #[must_use]
    pub fn device_name(self, name: &str) -> String {
        if name == "cuda" && !self.is_alone() {
            return format!("cuda:{}", self.local_rank);
        }
        name.to_owned()
    }

    /// Where the processes meet.
    ///
    /// # Errors
    /// When nothing says so.
    pub fn meeting(self) -> Result<Meeting, Error> {
        self.meeting_in(&environment)
    }

    /// [`Self::meeting`] by an environment: `MASTER_ADDR` and `MASTER_PORT`; without them, under srun
    /// the first host of the step and a port by the job's number, and under mpirun on one machine
    /// that machine.
    ///
    /// # Errors
    /// As [`Self::meeting`].
    pub fn meeting_in(
        self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Meeting, Error> {
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
            // Two jobs on one machine must not meet each other.
            let job = number("SLURM_JOB_ID")?.unwrap_or(0);
            let step = number("SLURM_STEP_ID")?.unwrap_or(0);
            (host, 20_000 + (job.wrapping_mul(31).wrapping_add(step) % 10_000) as u16)
        } else if number("OMPI_COMM_WORLD_LOCAL_SIZE")? == Some(self.world_size) {
            ("127.0.0.1".to_owned(), DEFAULT_PORT)
        } else {
            return Err(Error::NoMeeting(self.world_size));
        };
        let is_true = |value: String| value.eq_ignore_ascii_case("true") || value == "1";
        Ok(Meeting {
            host,
            port: port.unwrap_or(usual_port),
            launcher_listens: environment("TORCHELASTIC_USE_AGENT_STORE").is_some_and(is_true),
            restarts: number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) as u64,
        })
    }
}

/// How many of the job's processes share this machine, as far as its launcher says; else 1.
#[must_use]
pub fn processes_here() -> usize {
    processes_here_in(&environment)
}

/// [`processes_here`] in an environment. Of a step of SLURM it is the mean of its machines, rounded up.
#[must_use]
pub fn processes_here_in(environment: &dyn Fn(&str) -> Option<String>) -> usize {
    let number = |variable| environment(variable)?.trim().parse::<usize>().ok();
    let of_step = || {
        environment("SLURM_STEP_ID")?;
        Some(number("SLURM_STEP_NUM_TASKS")?.div_ceil(number("SLURM_STEP_NUM_NODES")?.max(1)))
    };
    let said = number("LOCAL_WORLD_SIZE").or_else(|| number("OMPI_COMM_WORLD_LOCAL_SIZE"));
    said.or_else(of_step).unwrap_or(1).max(1)
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
