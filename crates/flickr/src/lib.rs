//! Flickr8k and Flickr30k: captions, splits and pictures.
