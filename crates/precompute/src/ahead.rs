//! Decodes a bounded number of batches ahead of the model.
//!
//! One thread fills batches, each decoded on all cores; the caller's thread consumes them. At most
//! [`in_memory`] batches circulate between the two, so memory is a constant times the batch size,
//! and pixels are allocated once.
//!
//! Decoding and libtorch both use all cores: decoding takes so small a part (measured on
//! 2 cores: 5,000 pictures of 112x112 a second and core, where a model of 6 layers of 192 encodes
//! 470; 250 of 500x375, where ViT-B/32 encodes 27) that a run reaches 94 to 97 % of the model's own
//! speed, and to take a core from either would cost far more.

use crossbeam_channel::{Receiver, Sender, bounded};
use networks::transfer::HostBytes;
use rayon::prelude::*;
use tch::{Device, TchError, Tensor};

use crate::plan::Plan;
use crate::skipped::Skipped;
use crate::sources::Source;

/// Returns the number of batches at the model.
///
/// A GPU gets the next batch before the host waits for the previous one; on a CPU, a batch is
/// finished when its call returns.
pub(crate) fn at_the_model(device: Device) -> usize {
    if device.is_cuda() { 2 } else { 1 }
}

/// Returns the number of batches in memory: at the model, one waiting, one being decoded.
fn in_memory(device: Device) -> usize {
    at_the_model(device) + 2
}

/// Decoded images in order, without those that could not be decoded.
pub(crate) struct Batch {
    /// Index in the plan.
    pub(crate) index: usize,
    /// Indices of its images in the plan's list.
    pub(crate) pictures: Vec<usize>,
    /// Images that could not be decoded.
    pub(crate) skipped: Vec<Skipped>,
    /// File of each image of the batch, skipped ones included.
    pub(crate) sources: Vec<Source>,
    /// `[batch_size, 3, n, n]`; the first `pictures.len()` rows hold the images.
    pixels: HostBytes,
}

/// Result of reading an image: its file, and why it could not be decoded.
pub(crate) type Decoded = (Source, Result<(), String>);

impl Batch {
    fn empty(plan: &Plan) -> Result<Self, TchError> {
        let pictures = plan.batch_size.min(plan.names.len());
        let pixels = HostBytes::new(pictures * plan.preprocessing().len(), plan.device)?;
        let (pictures, skipped, sources) = Default::default();
        Ok(Self { index: 0, pictures, skipped, sources, pixels })
    }

    /// Returns the bytes of its images on the model's device, `[images, 3, n, n]`.
    pub(crate) fn upload(&self, plan: &Plan) -> Result<Tensor, TchError> {
        let side = i64::from(plan.preprocessing().crop);
        self.pixels.upload(&[self.pictures.len() as i64, 3, side, side], plan.device)
    }
}

/// Passes the batches `numbers` one by one to `consume` until that fails.
///
/// `consume` returns a batch that it has finished, this one or an earlier one. `decode` fills the
/// memory of one image, or returns why it cannot.
pub(crate) fn for_each_batch<E: From<TchError>>(
    plan: &Plan,
    numbers: Vec<usize>,
    decode: impl Fn(usize, &mut [u8]) -> Decoded + Sync,
    mut consume: impl FnMut(Batch) -> Result<Option<Batch>, E>,
) -> Result<(), E> {
    let most = in_memory(plan.device);
    let (to_consumer, decoded) = bounded(most);
    let (to_producer, free) = bounded(most);
    for _ in 0..most.min(numbers.len()) {
        // The channel holds that many, so this never waits.
        let _ = to_producer.send(Batch::empty(plan)?);
    }
    std::thread::scope(|scope| {
        let decode = &decode;
        // Each side owns its ends of the channels: whichever leaves hangs up on the other.
        scope.spawn(move || produce(plan, numbers, decode, &free, &to_consumer));
        let (decoded, to_producer) = (decoded, to_producer);
        for batch in &decoded {
            if let Some(done) = consume(batch)? {
                let _ = to_producer.send(done);
            }
        }
        Ok(())
    })
}

/// Fills free batches until all are done or the consumer has hung up.
fn produce(
    plan: &Plan,
    numbers: Vec<usize>,
    decode: &(impl Fn(usize, &mut [u8]) -> Decoded + Sync),
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
    decode: &(impl Fn(usize, &mut [u8]) -> Decoded + Sync),
    batch: &mut Batch,
) {
    let values = plan.preprocessing().len();
    batch.index = index;
    batch.pictures.clear();
    batch.skipped.clear();
    batch.sources.clear();
    let all_pixels = batch.pixels.as_mut_slice();
    let pictures = plan.batch(index);
    let results: Vec<_> = all_pixels
        .par_chunks_exact_mut(values)
        .zip(pictures.clone())
        .map(|(pixels, picture)| decode(picture, pixels))
        .collect();
    for (row, (picture, (source, result))) in pictures.zip(results).enumerate() {
        batch.sources.push(source);
        match result {
            Ok(()) => {
                let to = batch.pictures.len() * values;
                all_pixels.copy_within(row * values..(row + 1) * values, to);
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

    use super::*;
    use runs::{Dtype, Identity, Network};

    fn plan(pictures: usize) -> Plan<'static> {
        Plan {
            names: (0..pictures).map(|index| index.to_string()).collect(),
            find: Box::new(|_, name| Path::new(name).to_owned().into()),
            identity: Identity {
                network: Network::Clip,
                model: String::new(),
                model_sha256: String::new(),
                preprocessing: Some(pictures::Preprocessing::clip(2)),
                upright: false,
                normalize: false,
                dtype: Dtype::F32,
                dataset_fingerprint: String::new(),
                dimension: 1,
            },
            device: Device::Cpu,
            batch_size: 4,
            skip_corrupt: false,
            process: launchers::ProcessRank::SINGLE,
            output: Path::new("out"),
        }
    }

    #[test]
    fn decoding_runs_ahead_of_a_slow_consumer_by_no_more_than_the_batches_in_memory() {
        let plan = plan(81);
        let decoded = AtomicUsize::new(0);
        let decode = |picture: usize, pixels: &mut [u8]| {
            pixels.fill(picture as u8);
            decoded.fetch_add(1, Ordering::SeqCst);
            (None, Ok(()))
        };
        let (mut consumed, mut memory) = (0, HashSet::new());
        for_each_batch(&plan, (0..plan.batches()).collect(), decode, |batch| {
            let most = (consumed + in_memory(plan.device) * plan.batch_size).min(plan.names.len());
            let start = Instant::now();
            while decoded.load(Ordering::SeqCst) < most {
                assert!(start.elapsed() < Duration::from_secs(30), "it does not decode ahead");
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(decoded.load(Ordering::SeqCst), most, "ahead, and not further");
            consumed += batch.pictures.len();
            let pixels = batch.upload(&plan).unwrap();
            // On the processor it is the batch's own memory.
            memory.insert(pixels.data_ptr().addr());
            for (row, &picture) in batch.pictures.iter().enumerate() {
                let row = Vec::<u8>::try_from(pixels.get(row as i64).flatten(0, 2)).unwrap();
                assert_eq!(row, [picture as u8; 12]);
            }
            Ok::<_, TchError>(Some(batch))
        })
        .unwrap();
        assert_eq!(consumed, 81);
        assert_eq!(memory.len(), in_memory(plan.device), "the same memory is used again");
    }

    #[derive(Debug)]
    enum Failed {
        At(usize),
        Memory,
    }

    impl From<TchError> for Failed {
        fn from(_: TchError) -> Self {
            Self::Memory
        }
    }

    #[test]
    fn a_failing_consumer_ends_the_decoding() {
        let plan = plan(4000);
        let decoded = AtomicUsize::new(0);
        let decode = |_, _: &mut [u8]| {
            decoded.fetch_add(1, Ordering::SeqCst);
            (None, Ok(()))
        };
        let result = for_each_batch(&plan, (10..plan.batches()).collect(), decode, |batch| {
            Err(Failed::At(batch.index))
        });
        assert!(matches!(result, Err(Failed::At(10))), "{result:?}");
        assert!(decoded.load(Ordering::SeqCst) <= (in_memory(plan.device) + 1) * plan.batch_size);
    }
}
