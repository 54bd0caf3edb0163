//! CLIP, GPT-2 and the prefix mapper on libtorch: tensors in, tensors out.

pub mod clip;
pub mod device;
pub mod weights;
