//! Errors in the variables of launchers.

/// Contradictory or invalid launcher variables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Two variables for the same number have different values.
    #[error(
        "{first}={first_value} and {second}={second_value} contradict each other\nhint: unset those that the launcher of this process did not set (env -u {second})"
    )]
    Contradiction {
        /// First variable.
        first: &'static str,
        /// Value of the first variable.
        first_value: usize,
        /// Second variable.
        second: &'static str,
        /// Value of the second variable.
        second_value: usize,
    },
    /// A variable's value is not a number.
    #[error("{variable} is {value:?}, but must be a whole number{range}")]
    NotANumber {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
        /// Accepted range, appended to the message.
        range: &'static str,
    },
    /// The rank is not below the world size.
    #[error(
        "{rank_variable}={rank}, but {size_variable}={size}: ranks range from 0 to the world size minus 1"
    )]
    RankTooHigh {
        /// Variable that gives the rank.
        rank_variable: &'static str,
        /// Rank.
        rank: usize,
        /// Variable that gives the world size.
        size_variable: &'static str,
        /// World size.
        size: usize,
    },
    /// One of rank and world size is set, the other is not.
    #[error("{given} is set, but {missing} is not\nhint: set both or neither")]
    Missing {
        /// Variable that is set.
        given: &'static str,
        /// Variable that is not set.
        missing: &'static str,
    },
    /// No variable gives the rendezvous address. Holds the world size.
    #[error(
        "no variable gives the rendezvous address of the {0} processes\nhint: set MASTER_ADDR to the host of rank 0 (and MASTER_PORT, unless 29500 is free there)"
    )]
    NoRendezvous(usize),
    /// A host list cannot be parsed.
    #[error("{variable} is {value:?}, which is not a host list\nhint: set MASTER_ADDR")]
    Hosts {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
    },
}
