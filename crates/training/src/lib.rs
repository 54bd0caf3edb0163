//! All that owns a run folder: config, batches, optimizer, trainer, checkpoints, captions.
