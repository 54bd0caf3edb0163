//! SBG's keywords: from captions to labels, from labels to an encyclopedia, and from pictures to the
//! words that describe them.
