//! A picture set that capsmith draws itself: pictures and captions from a seed.
