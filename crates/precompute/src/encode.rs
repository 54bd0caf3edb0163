//! One batch through the caller's model, checked.

use tch::{Device, Kind, Tensor};

use crate::ahead::Batch;
use crate::error::Error;
use crate::plan::Plan;

/// The embeddings of a batch, `[pictures, dimension]` in row order.
pub(crate) fn encode<E>(
    plan: &Plan,
    batch: &Batch,
    encoder: &mut impl FnMut(&Tensor) -> Result<Tensor, E>,
) -> Result<Vec<f32>, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let [Some(first), Some(last)] = [batch.pictures.first(), batch.pictures.last()] else {
        return Ok(Vec::new());
    };
    let pixels = pixels(plan, batch)?;
    let embeddings = encoder(&pixels).map_err(|error| Error::Encoder {
        first: plan.names[*first].clone(),
        last: plan.names[*last].clone(),
        source: error.into(),
    })?;
    let wanted = [batch.pictures.len() as i64, plan.identity.dimension as i64];
    if embeddings.size() != wanted {
        return Err(Error::Shape { wanted, got: embeddings.size() });
    }
    let values = values(&embeddings, plan.identity.normalize)?;
    check_finite(plan, batch, &values)?;
    Ok(values)
}

/// The batch on the model's device and in its type: `[pictures, 3, n, n]`.
fn pixels(plan: &Plan, batch: &Batch) -> Result<Tensor, Error> {
    let side = i64::from(plan.identity.preprocessing.crop);
    let pixels = Tensor::f_from_slice(batch.pixels(plan.identity.preprocessing.len()))?
        .f_view([batch.pictures.len() as i64, 3, side, side])?
        .f_to_device(plan.device)?
        .f_to_kind(plan.identity.dtype.kind())?;
    Ok(pixels)
}

fn values(embeddings: &Tensor, normalize: bool) -> Result<Vec<f32>, Error> {
    let mut embeddings = embeddings.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    if normalize {
        let norms = embeddings.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
        embeddings = embeddings.f_div(&norms)?;
    }
    let embeddings = embeddings.f_contiguous()?;
    let mut values = vec![0.0f32; embeddings.numel()];
    embeddings.f_copy_data(&mut values, embeddings.numel())?;
    Ok(values)
}

fn check_finite(plan: &Plan, batch: &Batch, values: &[f32]) -> Result<(), Error> {
    let rows = values.chunks_exact(plan.identity.dimension);
    let not_finite: Vec<_> = rows
        .zip(&batch.pictures)
        .filter(|(row, _)| !row.iter().all(|value| value.is_finite()))
        .map(|(_, &picture)| plan.names[picture].clone())
        .collect();
    if not_finite.is_empty() { Ok(()) } else { Err(Error::NotFinite(not_finite)) }
}
