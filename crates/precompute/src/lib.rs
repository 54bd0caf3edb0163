//! The CLIP feature step: decode ahead on all cores, encode in batches, store.
