//! Composite (Aditya et al. 2015): ratings of correctness from 1 to 5 by Mechanical Turk.
//!
//! The first of an image's captions in a file is one of its references; papers use the first three.
//! CLIPScore's paper takes that reference away from the references, and prints for comparison what
//! comes out if it stays; other programs do not rate it at all.

use strsim::levenshtein;

use super::files::Files;
use super::published::{COMPOSITE, COMPOSITE_ALL_REFERENCES, COMPOSITE_MACHINES};
use super::rated::Rated;
use crate::correlate::{Pair, of_image};
use crate::{Error, References, ratings, text};

pub(super) const HINT: &str = "put 8k_correctness.csv, 30k_correctness.csv and \
    coco_correctness.csv of AMT_eval.zip there \
    (https://imagesdg.wordpress.com/image-to-scene-description-graph/), with \
    Flickr8k.token.txt, Flickr30k's results_20130124.token or results.csv, and COCO's \
    captions_val2014.json";

/// Captions of an image that papers use.
const CAPTIONS: usize = 3;

/// The images of one data set.
struct Part {
    ratings: &'static str,
    references: &'static [&'static str],
    /// Returns the identifier in the references of an image's file name.
    id: fn(&str) -> &str,
}

const PARTS: [Part; 3] = [
    Part { ratings: "8k_correctness.csv", references: &["Flickr8k.token.txt"], id: |name| name },
    Part {
        ratings: "30k_correctness.csv",
        references: &["results_20130124.token", "results.csv"],
        id: |name| name,
    },
    Part {
        ratings: "coco_correctness.csv",
        references: &["captions_val2014.json"],
        id: coco_number,
    },
];

/// Returns the number in `COCO_val2014_000000000042.jpg`, as it stands in COCO's annotations.
fn coco_number(name: &str) -> &str {
    let stem = name.split('.').next().unwrap_or(name);
    stem.rsplit('_').next().unwrap_or(stem).trim_start_matches('0')
}

/// A row of a file: an image and its captions with their ratings.
struct Row {
    url: String,
    captions: Vec<(String, Option<f64>)>,
}

/// Reads all three parts, for each choice of captions and references.
pub(super) fn read(files: &mut Files) -> Result<Vec<Rated>, Error> {
    let mut harder = Rated::new(
        "three captions of an image, the rated reference taken out of the references",
        &COMPOSITE,
    );
    let mut easier =
        Rated::new("three captions of an image, all references", &COMPOSITE_ALL_REFERENCES);
    let mut machines =
        Rated::new("without the rated reference, all references", &COMPOSITE_MACHINES);
    for part in PARTS {
        let path = files.find(&[part.ratings])?;
        let rows = rows(&text::read(&path)?)
            .map_err(|message| Error::Malformed { path: path.clone(), message })?;
        let references = References::read(files.find(part.references)?)?;
        for row in rows {
            let name = row.url.rsplit('/').next().unwrap_or_default();
            let references =
                of_image(&references, (part.id)(name)).map_err(|error| error.in_file(&path))?;
            let others = without_nearest(&references, &row.captions[0].0);
            for (number, (caption, rating)) in row.captions.into_iter().enumerate() {
                let Some(rating) = rating else {
                    for rated in [&mut harder, &mut easier, &mut machines] {
                        rated.left_out += 1;
                    }
                    continue;
                };
                let (image, all) = (name.to_owned(), references.clone());
                let pair = Pair { image, caption, references: all };
                harder.push(Pair { references: others.clone(), ..pair.clone() }, &[rating]);
                if number == 0 {
                    machines.left_out += 1;
                } else {
                    machines.push(pair.clone(), &[rating]);
                }
                easier.push(pair, &[rating]);
            }
        }
    }
    Ok(vec![harder, easier, machines])
}

/// Reads a file of Mechanical Turk's: cells between semicolons, below a header.
///
/// Rows without an image, which end the published files, are passed over.
fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(b';').flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: String| {
        let found = header.iter().position(|cell| cell.trim() == name);
        found.ok_or_else(|| format!("the header (line 1) has no column {name} between semicolons"))
    };
    let url = column("Input.image_url".to_owned())?;
    let captions = (1..=CAPTIONS)
        .map(|n| Ok((column(format!("Input.text{n}"))?, column(format!("Answer.Q{n}Answer"))?)));
    let captions: Vec<(usize, usize)> = captions.collect::<Result<_, String>>()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column| record.get(column).unwrap_or_default().trim();
        if cell(url).is_empty() {
            continue;
        }
        let rated = captions.iter().map(|&(caption, rating)| {
            let rating = ratings::rating(cell(rating))
                .map_err(|()| format!("line {line}: {:?} is no rating", cell(rating)))?;
            Ok((cell(caption).to_owned(), rating))
        });
        let captions = rated.collect::<Result<_, String>>()?;
        rows.push(Row { url: cell(url).to_owned(), captions });
    }
    if rows.is_empty() { Err("it holds no ratings".to_owned()) } else { Ok(rows) }
}

/// Returns all references but the one with the smallest edit distance to the caption, in
/// characters.
fn without_nearest(references: &[String], caption: &str) -> Vec<String> {
    let distances = references.iter().map(|reference| levenshtein(reference, caption));
    let nearest = distances.enumerate().min_by_key(|(_, distance)| *distance);
    let mut others = references.to_vec();
    if let Some((nearest, _)) = nearest {
        others.remove(nearest);
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances_are_those_of_textbooks() {
        for (a, b, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("é", "e", 1), ("a", "a", 0)]
        {
            assert_eq!(levenshtein(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_reference_is_taken_out() {
        let references = ["A dog runs .", "Two cats", "A dog sits ."].map(str::to_owned);
        assert_eq!(without_nearest(&references, "a dog sits"), references[..2]);
    }

    #[test]
    fn coco_names_hold_the_number_of_the_annotations() {
        assert_eq!(coco_number("COCO_val2014_000000000042.jpg"), "42");
    }
}
