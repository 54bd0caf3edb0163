//! CLIP's vision and text towers.
