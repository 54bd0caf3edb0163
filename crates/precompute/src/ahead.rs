//! Decoding ahead of the model, a bounded number of batches.
//!
//! One thread gathers batches, each decoded on all cores; the caller's thread consumes them. Batches
//! circulate between the two and are never more than [`IN_MEMORY`], so memory is a constant times
//! the batch size, and pixels are allocated once.
//!
//! Decoding and libtorch both use all cores, unregulated: decoding takes so small a part (measured on
//! 2 cores: 5,000 pictures of 112x112 a second and core, where a model of 6 layers of 192 encodes
//! 470; 250 of 500x375, where ViT-B/32 encodes 27) that a run reaches 94 to 97 % of the model's own
//! speed, and to take a core from either would cost far more.

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use crate::plan::{Plan, Skipped};
use crate::sources::Source;

/// One batch at the model, one waiting for it, one being decoded.
pub(crate) const IN_MEMORY: usize = 3;

/// Decoded pictures, in order, without those that could not be decoded.
pub(crate) struct Batch {
    /// Its number in the plan.
    pub(crate) index: usize,
    /// The places of its pictures in the plan's list.
    pub(crate) pictures: Vec<usize>,
    /// What was not decoded.
    pub(crate) skipped: Vec<Skipped>,
    /// The file of each picture of the batch, skipped ones included.
    pub(crate) sources: Vec<Source>,
    /// `[batch_size, 3, n, n]`, of which the first `pictures.len()` rows hold the pictures.
    pixels: Vec<f32>,
}

/// Result of reading a picture: its file, and why it could not be decoded.
pub(crate) type Decoded = (Source, Result<(), String>);

impl Batch {
    fn empty() -> Self {
        let (pictures, skipped, sources, pixels) = Default::default();
        Self { index: 0, pictures, skipped, sources, pixels }
    }

    /// `[pictures, 3, n, n]`, where a picture has `values` values.
    pub(crate) fn pixels(&self, values: usize) -> &[f32] {
        &self.pixels[..self.pictures.len() * values]
    }
}

/// Hands batch after batch, by `numbers`, to `consume` until that fails.
///
/// `decode` fills the memory of one picture, or says why it cannot.
pub(crate) fn for_each_batch<E>(
    plan: &Plan,
    numbers: Vec<usize>,
    decode: impl Fn(usize, &mut [f32]) -> Decoded + Sync,
    mut consume: impl FnMut(&Batch) -> Result<(), E>,
) -> Result<(), E> {
    let (to_consumer, decoded) = bounded(IN_MEMORY);
    let (to_producer, free) = bounded(IN_MEMORY);
    for _ in 0..IN_MEMORY {
        // The channel holds exactly as many, so this never waits.
        let _ = to_producer.send(Batch::empty());
    }
    std::thread::scope(|scope| {
        let decode = &decode;
        // Each side owns its ends of the channels: whichever leaves hangs up on the other.
        scope.spawn(move || produce(plan, numbers, decode, &free, &to_consumer));
        let (decoded, to_producer) = (decoded, to_producer);
        for batch in &decoded {
            consume(&batch)?;
            let _ = to_producer.send(batch);
        }
        Ok(())
    })
}

/// Fills free batches until all are done, or the consumer has hung up.
fn produce(
    plan: &Plan,
    numbers: Vec<usize>,
    decode: &(impl Fn(usize, &mut [f32]) -> Decoded + Sync),
    free: &Receiver<Batch>,
    to_consumer: &Sender<Batch>,
) {
    for (index, mut batch) in numbers.into_iter().zip(free) {
        fill(plan, index, decode, &mut batch);
        if to_consumer.send(batch).is_err() {
            return;
        }
    }
}

fn fill(
    plan: &Plan,
    index: usize,
    decode: &(impl Fn(usize, &mut [f32]) -> Decoded + Sync),
    batch: &mut Batch,
) {
    let values = plan.identity.preprocessing.len();
    batch.index = index;
    batch.pictures.clear();
    batch.skipped.clear();
    batch.sources.clear();
    batch.pixels.resize(plan.batch_size.min(plan.names.len()) * values, 0.0);
    let pictures = plan.batch(index);
    let results: Vec<_> = batch
        .pixels
        .par_chunks_exact_mut(values)
        .zip(pictures.clone())
        .map(|(pixels, picture)| decode(picture, pixels))
        .collect();
    for (row, (picture, (source, result))) in pictures.zip(results).enumerate() {
        batch.sources.push(source);
        match result {
            Ok(()) => {
                let to = batch.pictures.len() * values;
                batch.pixels.copy_within(row * values..(row + 1) * values, to);
                batch.pictures.push(picture);
            }
            Err(reason) => {
                batch.skipped.push(Skipped { name: plan.names[picture].clone(), reason });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use tch::Device;

    use super::*;
    use crate::identity::{Dtype, Identity};

    fn plan(pictures: usize) -> Plan<'static> {
        Plan {
            names: (0..pictures).map(|index| index.to_string()).collect(),
            find: Box::new(|_, name| Path::new(name).to_owned().into()),
            identity: Identity {
                model: String::new(),
                model_sha256: String::new(),
                preprocessing: flickr::Preprocessing::clip(2),
                normalize: false,
                dtype: Dtype::F32,
                dataset_fingerprint: String::new(),
                dimension: 1,
            },
            device: Device::Cpu,
            batch_size: 4,
            skip_corrupt: false,
            place: launchers::Place::ALONE,
            output: Path::new("out"),
        }
    }

    #[test]
    fn decoding_runs_ahead_of_a_slow_consumer_by_no_more_than_the_batches_in_memory() {
        let plan = plan(81);
        let decoded = AtomicUsize::new(0);
        let decode = |picture: usize, pixels: &mut [f32]| {
            pixels.fill(picture as f32);
            decoded.fetch_add(1, Ordering::SeqCst);
            (None, Ok(()))
        };
        let (mut consumed, mut memory) = (0, HashSet::new());
        for_each_batch(&plan, (0..plan.batches()).collect(), decode, |batch| {
            let most = (consumed + IN_MEMORY * plan.batch_size).min(plan.names.len());
            let start = Instant::now();
            while decoded.load(Ordering::SeqCst) < most {
                assert!(start.elapsed() < Duration::from_secs(30), "it does not decode ahead");
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(decoded.load(Ordering::SeqCst), most, "ahead, and not further");
            consumed += batch.pictures.len();
            memory.insert(batch.pixels.as_ptr().addr());
            for (row, &picture) in batch.pixels(12).chunks(12).zip(&batch.pictures) {
                assert_eq!(row, [picture as f32; 12]);
            }
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(consumed, 81);
        assert_eq!(memory.len(), IN_MEMORY, "the same memory is used again");
    }

    #[test]
    fn a_failing_consumer_ends_the_decoding() {
        let plan = plan(4000);
        let decoded = AtomicUsize::new(0);
        let decode = |_, _: &mut [f32]| {
            decoded.fetch_add(1, Ordering::SeqCst);
            (None, Ok(()))
        };
        let result =
            for_each_batch(&plan, (10..plan.batches()).collect(), decode, |batch| Err(batch.index));
        assert_eq!(result, Err(10));
        assert!(decoded.load(Ordering::SeqCst) <= (IN_MEMORY + 1) * plan.batch_size);
    }
}
