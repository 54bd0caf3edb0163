//! CLIP, GPT-2 and the prefix mapper on libtorch: tensors in, tensors out.
