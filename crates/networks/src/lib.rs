//! CLIP, GPT-2 and the prefix mapper on libtorch: tensors in, tensors out.

pub mod clip;
pub mod decode;
pub mod device;
pub mod gpt2;
pub mod prefix;
pub mod weights;
