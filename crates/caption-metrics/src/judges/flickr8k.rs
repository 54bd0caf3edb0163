//! Flickr8k-Expert and Flickr8k-CF (Hodosh et al. 2013), as CLIPScore's program reads them.

use std::collections::HashMap;

use super::files::Files;
use super::published::{FLICKR8K_CF, FLICKR8K_EXPERT};
use super::rated::Rated;
use crate::correlate::{Pair, find, of_image};
use crate::ratings::{self, Ratings};
use crate::{Error, References};

pub(super) const EXPERT_HINT: &str = "put ExpertAnnotations.txt and Flickr8k.token.txt of \
    Flickr8k_text.zip there; `capsmith fetch flickr8k` brings both";

pub(super) const CF_HINT: &str = "put CrowdFlowerAnnotations.txt and Flickr8k.token.txt of \
    Flickr8k_text.zip there; `capsmith fetch flickr8k` brings both";

/// Reads the ratings by three experts; a caption that is among its image's own is left out.
pub(super) fn expert(files: &mut Files) -> Result<Vec<Rated>, Error> {
    let (captions, ratings) = read(files, &["ExpertAnnotations.txt"])?;
    let mut rated = Rated::new(
        "captions other than the image's own, each rating a point, all references",
        &FLICKR8K_EXPERT,
    );
    for pair in &ratings.rated {
        let references = of_image(&captions, &pair.image)?;
        let caption = find(&captions, None, &pair.caption)?;
        if references.contains(&caption) {
            rated.left_out += 1;
        } else {
            rated.push(Pair { image: pair.image.clone(), caption, references }, &pair.ratings);
        }
    }
    Ok(vec![rated])
}

/// Reads the shares of yes; captions of the image's own that people judged are no references.
pub(super) fn crowd_flower(files: &mut Files) -> Result<Vec<Rated>, Error> {
    let names = ["CrowdFlowerAnnotations.txt", "CrowdFlowerAnnotations.partial.txt"];
    let (captions, ratings) = read(files, &names)?;
    let mut references: HashMap<&str, Vec<String>> = HashMap::new();
    let mut judged = Vec::with_capacity(ratings.rated.len());
    for pair in &ratings.rated {
        let caption = find(&captions, None, &pair.caption)?;
        if !references.contains_key(pair.image.as_str()) {
            references.insert(&pair.image, of_image(&captions, &pair.image)?);
        }
        let left = references.get_mut(pair.image.as_str());
        if let Some(left) = left
            && let Some(own) = left.iter().position(|reference| *reference == caption)
        {
            left.remove(own);
        }
        judged.push((pair, caption));
    }
    let mut rated = Rated::new(
        "all captions, the share of yes a point, references without the image's judged captions",
        &FLICKR8K_CF,
    );
    for (pair, caption) in judged {
        let references = references[pair.image.as_str()].clone();
        rated.push(Pair { image: pair.image.clone(), caption, references }, &pair.ratings);
    }
    Ok(vec![rated])
}

fn read(files: &mut Files, names: &[&'static str]) -> Result<(References, Ratings), Error> {
    let ratings = ratings::read(&files.find(names)?, &[])?;
    Ok((References::read(files.find(&["Flickr8k.token.txt"])?)?, ratings))
}
