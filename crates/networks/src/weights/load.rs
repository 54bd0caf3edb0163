//! Filling variables from a checkpoint, all of them or none.

use std::collections::BTreeSet;

use tch::{Kind, Tensor, nn};

use super::checkpoint::Checkpoint;
use super::error::{Mismatch, WeightsError};

/// Fills every variable of `store` from `checkpoint`.
///
/// `file_name_of` maps a variable's name to its name in the file. `ignored` selects tensors of the
/// file that the model does not need. Values are converted to the variable's type, so an f16 file
/// fills an f32 store; integers never fill floating-point variables. Nothing changes unless
/// everything fits.
///
/// # Errors
/// [`WeightsError::Mismatch`] lists missing, unexpected and misshapen tensors by their names in the
/// file. [`WeightsError::NotFinite`] and [`WeightsError::TooLarge`] report the first tensor with
/// such a value; the store is then partly filled.
pub fn load(
    store: &mut nn::VarStore,
    checkpoint: &Checkpoint,
    file_name_of: impl Fn(&str) -> String,
    ignored: impl Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    load_variables(store.variables(), checkpoint, &[], file_name_of, ignored)
}

/// Same as [`load`], but accepts unused tensors as transformers does, and returns their names.
///
/// # Errors
/// Same as [`load`]; the report lists unused tensors too.
pub(crate) fn load_allowing_unused(
    store: &nn::VarStore,
    checkpoint: &Checkpoint,
    ignored: impl Fn(&str) -> bool,
) -> Result<Vec<String>, WeightsError> {
    let mut variables = sorted(store.variables());
    let report = compare(&variables, checkpoint, &[], ignored);
    if !(report.missing.is_empty() && report.misshapen.is_empty()) {
        return Err(WeightsError::Mismatch { path: checkpoint.path().to_owned(), report });
    }
    fill(&mut variables, checkpoint, &[])?;
    Ok(report.unexpected)
}

/// Same as [`load`] for some of a store's variables.
///
/// Variables whose file name is in `truncatable` may have fewer rows than the file, and take its
/// first rows.
pub(crate) fn load_variables(
    variables: impl IntoIterator<Item = (String, Tensor)>,
    checkpoint: &Checkpoint,
    truncatable: &[&str],
    file_name_of: impl Fn(&str) -> String,
    ignored: impl Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    let mut variables =
        sorted(variables.into_iter().map(|(name, tensor)| (file_name_of(&name), tensor)));
    let report = compare(&variables, checkpoint, truncatable, ignored);
    if !report.is_empty() {
        return Err(WeightsError::Mismatch { path: checkpoint.path().to_owned(), report });
    }
    fill(&mut variables, checkpoint, truncatable)
}

fn sorted(variables: impl IntoIterator<Item = (String, Tensor)>) -> Vec<(String, Tensor)> {
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    variables
}

/// Copies values into variables, listed under their names in the file.
fn fill(
    variables: &mut [(String, Tensor)],
    checkpoint: &Checkpoint,
    truncatable: &[&str],
) -> Result<(), WeightsError> {
    for (name, variable) in variables {
        let (device, kind) = (variable.device(), variable.kind());
        let mut values = checkpoint.finite_tensor(name, device, kind)?;
        if truncatable.contains(&name.as_str()) {
            values = values.narrow(0, 0, variable.size()[0]);
        }
        tch::no_grad(|| variable.f_copy_(&values)).map_err(|source| WeightsError::Tensor {
            path: checkpoint.path().to_owned(),
            name: name.clone(),
            source,
        })?;
    }
    Ok(())
}

fn compare(
    variables: &[(String, Tensor)],
    checkpoint: &Checkpoint,
    truncatable: &[&str],
    ignored: impl Fn(&str) -> bool,
) -> Mismatch {
    let mut report = Mismatch::default();
    for (name, variable) in variables {
        let Some(shape) = checkpoint.shape(name) else {
            report.missing.push(name.clone());
            continue;
        };
        let expected = variable.size();
        let is_truncated = truncatable.contains(&name.as_str())
            && shape.get(1..) == expected.get(1..)
            && shape.first() > expected.first();
        if shape != expected && !is_truncated {
            report
                .misshapen
                .push(format!("{name}: {shape:?} in the file, {expected:?} in the model"));
        } else if !checkpoint.kind(name).is_some_and(|kind| converts(kind, variable.kind())) {
            report.misshapen.push(format!("{name}: its type cannot fill {:?}", variable.kind()));
        }
    }
    let known: BTreeSet<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    report.unexpected = checkpoint
        .names()
        .filter(|name| !known.contains(name) && !ignored(name))
        .map(str::to_owned)
        .collect();
    report
}

/// Returns true if values of type `from` may be converted to `to`: floating-point types only.
fn converts(from: Kind, to: Kind) -> bool {
    let floating = |kind| matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double);
    from == to || (floating(from) && floating(to))
}
