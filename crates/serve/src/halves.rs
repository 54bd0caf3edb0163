//! Batches that exceed memory, processed in halves.

use std::error::Error;

use networks::memory::try_catch_out_of_memory;

use crate::backend::BackendError;

/// Processes a batch, and its halves if it exceeds memory as a whole.
///
/// # Errors
/// [`BackendError::OutOfMemory`] if a single item exceeds memory.
pub(crate) fn in_halves<I, T, E: Error + 'static>(
    items: &[I],
    process: &mut impl FnMut(&[I]) -> Result<Vec<T>, E>,
) -> Result<Vec<T>, BackendError> {
    match try_catch_out_of_memory(|| process(items)) {
        Ok(result) => result.map_err(|error| BackendError::Other(error.to_string())),
        Err(_) if items.len() > 1 => {
            let (first, others) = items.split_at(items.len() / 2);
            let mut results = in_halves(first, process)?;
            results.extend(in_halves(others, process)?);
            Ok(results)
        }
        Err(exhausted) => Err(exhausted.into()),
    }
}

#[cfg(test)]
mod tests {
    use networks::memory::OutOfMemory;

    use super::*;

    /// Doubles numbers of which at most `most` fit in memory, by errors or by tch's panics.
    fn double(most: usize, panics: bool) -> (Result<Vec<u32>, BackendError>, Vec<usize>) {
        let mut sizes = Vec::new();
        let doubled = in_halves(&[1, 2, 3, 4, 5], &mut |batch: &[u32]| {
            sizes.push(batch.len());
            match batch.len() > most {
                true if panics => panic!("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0"),
                true => Err(OutOfMemory { is_gpu: false, requested: None }),
                false => Ok(batch.iter().map(|number| 2 * number).collect()),
            }
        });
        (doubled, sizes)
    }

    #[test]
    fn halves_that_fit_have_the_results_of_the_whole() {
        for panics in [false, true] {
            let (doubled, sizes) = double(2, panics);
            assert_eq!(doubled.unwrap(), [2, 4, 6, 8, 10]);
            assert_eq!(sizes, [5, 2, 3, 1, 2]);
            let (doubled, sizes) = double(0, panics);
            assert!(matches!(doubled, Err(BackendError::OutOfMemory(_))));
            assert_eq!(sizes, [5, 2, 1]);
        }
    }
}
