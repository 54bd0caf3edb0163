//! Ranks and world sizes from the environment variables of each launcher.

use crate::error::Error;

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A number and the variable that holds it.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub variable: &'static str,
    pub value: usize,
}

/// All values that the launchers' variables give.
pub(crate) struct Claims {
    ranks: Vec<Claim>,
    world_sizes: Vec<Claim>,
    local_ranks: Vec<Claim>,
    /// `JOB_COMPLETION_INDEX`: a rank only if another variable gives the world size.
    completion_index: Option<Claim>,
}

impl Claims {
    pub(crate) fn new(environment: Environment) -> Result<Self, Error> {
        let mut ranks = vec!["RANK"];
        let mut world_sizes = vec!["WORLD_SIZE"];
        let mut local_ranks = vec!["LOCAL_RANK"];
        let mut completion_index = None;
        if environment("TORCHELASTIC_RUN_ID").is_none() {
            ranks.push("OMPI_COMM_WORLD_RANK");
            world_sizes.push("OMPI_COMM_WORLD_SIZE");
            local_ranks.push("OMPI_COMM_WORLD_LOCAL_RANK");
            if environment("SLURM_JOB_ID").is_none() || environment("SLURM_STEP_ID").is_some() {
                ranks.push("SLURM_PROCID");
                // A step may have fewer tasks than its job.
                world_sizes.push(match environment("SLURM_STEP_NUM_TASKS") {
                    Some(_) => "SLURM_STEP_NUM_TASKS",
                    None => "SLURM_NTASKS",
                });
                local_ranks.push("SLURM_LOCALID");
            }
            completion_index = claim(environment, "JOB_COMPLETION_INDEX")?;
        }
        Ok(Self {
            ranks: claims(environment, &ranks)?,
            world_sizes: claims(environment, &world_sizes)?,
            local_ranks: claims(environment, &local_ranks)?,
            completion_index,
        })
    }

    /// Returns the world size, if a variable gives it.
    pub(crate) fn world_size(&self) -> Result<Option<Claim>, Error> {
        let size = agreed(&self.world_sizes)?;
        if let Some(Claim { variable, value: 0 }) = size {
            return Err(Error::NotANumber { variable, value: "0".into(), range: " from 1" });
        }
        Ok(size)
    }

    /// Returns this process's rank. Only call it if the world size is known.
    pub(crate) fn rank(&self) -> Result<Option<Claim>, Error> {
        let all: Vec<Claim> = self.ranks.iter().copied().chain(self.completion_index).collect();
        agreed(&all)
    }

    /// Returns the variable that gives a rank although no variable gives the world size.
    pub(crate) fn rank_without_size(&self) -> Option<&'static str> {
        self.ranks.first().map(|claim| claim.variable)
    }

    pub(crate) fn local_rank(&self) -> Result<Option<usize>, Error> {
        Ok(agreed(&self.local_ranks)?.map(|claim| claim.value))
    }
}

/// Returns the number in a variable, if it is set.
pub(crate) fn number(
    environment: Environment,
    variable: &'static str,
) -> Result<Option<usize>, Error> {
    Ok(claim(environment, variable)?.map(|claim| claim.value))
}

fn claim(environment: Environment, variable: &'static str) -> Result<Option<Claim>, Error> {
    let Some(text) = environment(variable) else { return Ok(None) };
    match text.trim().parse() {
        Ok(value) => Ok(Some(Claim { variable, value })),
        Err(_) => Err(Error::NotANumber { variable, value: text, range: "" }),
    }
}

fn claims(environment: Environment, variables: &[&'static str]) -> Result<Vec<Claim>, Error> {
    let claims = variables.iter().filter_map(|variable| claim(environment, variable).transpose());
    claims.collect()
}

/// Returns the first claim, or an error if two claims differ.
fn agreed(claims: &[Claim]) -> Result<Option<Claim>, Error> {
    let Some(first) = claims.first() else { return Ok(None) };
    match claims.iter().find(|claim| claim.value != first.value) {
        None => Ok(Some(*first)),
        Some(second) => Err(Error::Contradiction {
            first: first.variable,
            first_value: first.value,
            second: second.variable,
            second_value: second.value,
        }),
    }
}
