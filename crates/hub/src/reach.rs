//! Asking whether the hub answers at all.

use std::time::Duration;

use ureq::Agent;

use crate::Options;
use crate::retry::Fault;

/// Waits up to `patience` for an answer of the hub, whatever it is.
///
/// # Errors
/// Says why there is none; [`Options::offline`] is such a reason.
pub fn reach(options: &Options, patience: Duration) -> Result<(), String> {
    if options.offline {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    let config =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience)).build();
    match Agent::from(config).head(&options.endpoint).call() {
        Ok(_) => Ok(()),
        Err(error) => Err(match Fault::from(error) {
            Fault::Passing { reason, .. } => reason,
            Fault::Final(error) => error.to_string(),
        }),
    }
}
