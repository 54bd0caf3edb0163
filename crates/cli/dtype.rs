//! `--dtype`, the short form of `--set decoding.dtype=...`.

/// Names of types.
pub const NAMES: [&str; 4] = ["f32", "tf32", "bf16", "f16"];

/// Returns the setting of a run that `--dtype NAME` is short for.
pub fn setting(name: &String) -> String {
    format!("decoding.dtype={name}")
}
