//! Runs one batch through the caller's model and checks the result.

use durable::kept::Pieces;
use networks::memory::try_catch_out_of_memory;
use networks::transfer::PendingCopy;
use tch::{Kind, TchError, Tensor};

use crate::ahead::Batch;
use crate::error::Error;
use crate::file_writer::check_finite;
use crate::normaliser::Normaliser;
use crate::plan::Plan;

/// A batch at the model.
pub(crate) struct Encoding {
    /// The batch; its memory stays in use until the result is read.
    pub(crate) batch: Batch,
    /// `[images, dimension]`; `None` without images.
    embeddings: Option<PendingCopy>,
}

impl Encoding {
    /// Passes a batch to the model.
    pub(crate) fn start<E>(
        plan: &Plan,
        batch: Batch,
        normaliser: &Normaliser,
        encoder: &mut impl FnMut(&Tensor) -> Result<Tensor, E>,
    ) -> Result<Self, Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let [Some(first), Some(last)] = [batch.pictures.first(), batch.pictures.last()] else {
            return Ok(Self { batch, embeddings: None });
        };
        let [first, last] = [*first, *last].map(|picture| plan.names[picture].clone());
        let encoded = try_catch_out_of_memory(|| {
            let pixels = normaliser.apply(&batch.upload(plan)?)?;
            encoder(&pixels).map_err(|error| Error::Encoder {
                first: first.clone(),
                last: last.clone(),
                source: error.into(),
            })
        });
        let embeddings = encoded.map_err(|source| Error::OutOfMemory {
            first,
            last,
            source,
            batch_size: plan.batch_size,
            kept: Pieces::folder_of(plan.output),
        })??;
        let expected = [batch.pictures.len() as i64, plan.identity.dimension as i64];
        if embeddings.size() != expected {
            return Err(Error::Shape { expected, got: embeddings.size() });
        }
        Ok(Self { embeddings: Some(PendingCopy::start(&embeddings)?), batch })
    }

    /// Waits for the embeddings and returns the batch with its rows, one after the other.
    pub(crate) fn finish(self, plan: &Plan) -> Result<(Batch, Vec<f32>), Error> {
        let Self { batch, embeddings } = self;
        let Some(embeddings) = embeddings else { return Ok((batch, Vec::new())) };
        let values = values(&embeddings.wait()?, plan.identity.normalize)?;
        let names: Vec<&str> =
            batch.pictures.iter().map(|&picture| plan.names[picture].as_str()).collect();
        check_finite(&names, &values, plan.identity.dimension)?;
        Ok((batch, values))
    }
}

fn values(embeddings: &Tensor, normalize: bool) -> Result<Vec<f32>, TchError> {
    let mut embeddings = embeddings.f_to_kind(Kind::Float)?;
    if normalize {
        embeddings = networks::normalized(&embeddings)?;
    }
    let embeddings = embeddings.f_contiguous()?;
    let mut values = vec![0.0f32; embeddings.numel()];
    embeddings.f_copy_data(&mut values, embeddings.numel())?;
    Ok(values)
}
