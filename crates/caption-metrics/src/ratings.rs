//! People's ratings of captions, from Flickr8k's two files or another table.

use std::path::Path;

use crate::{Error, text};

/// An image and a caption that people rated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    /// The image.
    pub image: String,
    /// The caption's identifier.
    pub caption: String,
    /// The ratings, one a person.
    pub ratings: Vec<f64>,
}

impl Rated {
    /// Returns whether the caption was written for this very image, as `image#k` shows.
    pub(crate) fn is_own(&self) -> bool {
        self.caption.rsplit_once('#').is_some_and(|(image, _)| image == self.image)
    }
}

/// The ratings of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratings {
    /// The pairs that have a rating, in the file's order.
    pub rated: Vec<Rated>,
    /// Description of the ratings, for people.
    pub source: String,
    /// Ratings that are missing: empty, `NA` and alike.
    pub missing: usize,
}

/// The columns of an image and of a caption's identifier, where no header names others.
const PAIR: [usize; 2] = [0, 1];

/// Words for a rating that is missing, in lower case.
const MISSING: [&str; 8] = ["", "na", "n/a", "#n/a", "nan", "null", "none", "-"];

/// Reads ratings: a line is an image, a caption's identifier and ratings, between tabs or commas.
///
/// `columns` are the columns of ratings, by the header's names or by number from 1. Without them
/// these are known: Flickr8k's `ExpertAnnotations.txt` (three ratings from 1 to 4), Flickr8k's
/// `CrowdFlowerAnnotations.txt` (the share of yes, and the numbers of yes and no, which are no
/// ratings), a header that names columns `rating…`, and a table with one column beside image and
/// caption.
///
/// The first line is a header if nothing behind its second field is a number or missing (empty,
/// `NA`, `nan`, …).
///
/// # Errors
/// Names the file and the line, or the columns to choose from.
pub fn read(path: &Path, columns: &[String]) -> Result<Ratings, Error> {
    let malformed = |message| Error::Malformed { path: path.to_owned(), message };
    let text = text::read(path)?;
    let table = Table::new(&text).map_err(malformed)?;
    let (columns, source) = table.rating_columns(columns).map_err(malformed)?;
    let mut found = Ratings { rated: Vec::new(), source, missing: 0 };
    for (line, row) in &table.rows {
        let mut ratings = Vec::new();
        for &column in &columns {
            let cell = &row[column];
            match rating(cell) {
                Ok(Some(rating)) => ratings.push(rating),
                Ok(None) => found.missing += 1,
                Err(()) => {
                    return Err(malformed(format!(
                        "line {line}: expected a rating in column {}, found {cell:?}",
                        column + 1
                    )));
                }
            }
        }
        if !ratings.is_empty() {
            let [image, caption] = table.pair.map(|column| row[column].clone());
            found.rated.push(Rated { image, caption, ratings });
        }
    }
    if found.rated.is_empty() {
        return Err(malformed("it holds no ratings".to_owned()));
    }
    Ok(found)
}

/// Returns the rating of a cell, `None` for a missing one and an error for other text.
pub(crate) fn rating(cell: &str) -> Result<Option<f64>, ()> {
    if MISSING.contains(&cell.to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    cell.parse().ok().filter(|number: &f64| number.is_finite()).map(Some).ok_or(())
}

/// A file of ratings as rows of cells.
struct Table {
    header: Option<Vec<String>>,
    /// Line number and cells of each row, as many cells as the first has.
    rows: Vec<(u64, Vec<String>)>,
    /// The columns of image and caption.
    pair: [usize; 2],
    width: usize,
}

impl Table {
    fn new(text: &str) -> Result<Self, String> {
        let has_tabs = text.lines().next().is_some_and(|line| line.contains('\t'));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(if has_tabs { b'\t' } else { b',' })
            .quoting(!has_tabs)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            let cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                rows.push((line, cells));
            }
        }
        let Some((_, first)) = rows.first() else { return Err("it holds no ratings".to_owned()) };
        let width = first.len();
        if width < 3 {
            return Err("line 1: expected an image, a caption's identifier and ratings".to_owned());
        }
        if let Some((line, cells)) = rows.iter().find(|(_, cells)| cells.len() != width) {
            return Err(format!("line {line}: {} cells, but {width} in line 1", cells.len()));
        }
        let is_header = first[PAIR.len()..].iter().all(|cell| rating(cell).is_err());
        let header = is_header.then(|| rows.remove(0).1);
        let named = |names: &[&str]| {
            header.as_ref()?.iter().position(|h| names.contains(&h.to_ascii_lowercase().as_str()))
        };
        let pair = match (named(&["image", "image_id"]), named(&["caption_id", "caption"])) {
            (Some(image), Some(caption)) => [image, caption],
            _ => PAIR,
        };
        Ok(Self { header, rows, pair, width })
    }

    /// Returns the columns of ratings, and a description of them.
    fn rating_columns(&self, chosen: &[String]) -> Result<(Vec<usize>, String), String> {
        if !chosen.is_empty() {
            let columns: Result<_, String> = chosen.iter().map(|name| self.column(name)).collect();
            return Ok((columns?, format!("columns {}", chosen.join(", "))));
        }
        let others: Vec<usize> =
            (0..self.width).filter(|column| !self.pair.contains(column)).collect();
        let is_named = |&column: &usize| {
            self.header.as_ref().is_some_and(|header| is_rating_name(&header[column]))
        };
        let named: Vec<usize> = others.iter().copied().filter(is_named).collect();
        let (columns, description) = if !named.is_empty() {
            let description = format!("columns {}", self.names(&named).join(", "));
            (named, description)
        } else if self.is_crowd_flower() {
            (vec![2], "the share of yes, as in CrowdFlowerAnnotations.txt".to_owned())
        } else if self.is_expert() {
            (others, "three ratings from 1 to 4, as in ExpertAnnotations.txt".to_owned())
        } else if let [only] = others[..] {
            (vec![only], format!("column {}", only + 1))
        } else {
            return Err(format!(
                "several columns could be ratings; name those that are with --rating-columns, such \
                 as --rating-columns {}",
                self.names(&others).join(",")
            ));
        };
        Ok((columns, description))
    }

    /// Returns the column of a name in the header, or of a number from 1.
    fn column(&self, chosen: &str) -> Result<usize, String> {
        let named = self.header.iter().flatten().position(|header| header == chosen);
        let numbered = chosen.parse().ok().filter(|number| (1..=self.width).contains(number));
        match named.or(numbered.map(|number| number - 1)) {
            Some(column) if self.pair.contains(&column) => {
                Err(format!("column {chosen} is the image's or the caption's, not a rating"))
            }
            Some(column) => Ok(column),
            None => {
                let all: Vec<usize> = (0..self.width).collect();
                Err(format!(
                    "there is no column {chosen:?}; there are {}",
                    self.names(&all).join(",")
                ))
            }
        }
    }

    fn names(&self, columns: &[usize]) -> Vec<String> {
        let name = |&column: &usize| match &self.header {
            Some(header) => header[column].clone(),
            None => (column + 1).to_string(),
        };
        columns.iter().map(name).collect()
    }

    /// Returns the ratings of every row, if rows are image, caption and three cells of ratings.
    fn three_ratings(&self) -> Option<Vec<[Option<f64>; 3]>> {
        let three = |(_, row): &(u64, Vec<String>)| match &row[PAIR.len()..] {
            [a, b, c] => Some([rating(a).ok()?, rating(b).ok()?, rating(c).ok()?]),
            _ => None,
        };
        if self.pair == PAIR { self.rows.iter().map(three).collect() } else { None }
    }

    /// Returns whether every row is the share of yes and at least three judgments, of yes and of
    /// no. Rows where one is missing are passed over.
    fn is_crowd_flower(&self) -> bool {
        let mut rows = self.three_ratings().into_iter().flatten().filter_map(|row| match row {
            [Some(share), Some(yes), Some(no)] => Some([share, yes, no]),
            _ => None,
        });
        let is_judged = |[share, yes, no]: [f64; 3]| {
            let are_counts = [yes, no].iter().all(|n| *n >= 0.0 && n.fract() == 0.0);
            are_counts && yes + no >= 3.0 && (share - yes / (yes + no)).abs() < 0.0051
        };
        rows.next().is_some_and(is_judged) && rows.all(is_judged)
    }

    /// Returns whether every row is three ratings from 1 to 4, some of which may be missing.
    fn is_expert(&self) -> bool {
        let is_valid = |rating: f64| [1.0, 2.0, 3.0, 4.0].contains(&rating);
        let rows = self.three_ratings();
        rows.is_some_and(|rows| rows.iter().flatten().all(|rating| rating.is_none_or(is_valid)))
    }
}

/// Returns true for `rating`, `ratings`, `rating_1`, `Rating 2` and alike, and not for a count or a
/// mean of ratings.
fn is_rating_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("rating").is_some_and(|rest| {
        let number = rest.trim_start_matches(['_', '-', ' ', '.']);
        rest == "s" || number.chars().all(|character| character.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratings(text: &str, columns: &[&str]) -> Result<Ratings, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().join("ratings.csv");
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        read(&path, &columns).map_err(|error| error.to_string())
    }

    /// Image, caption and ratings of each pair, and the number of missing ratings.
    fn read_as(text: &str, columns: &[&str]) -> Result<(Vec<String>, usize), String> {
        let found = ratings(text, columns)?;
        let pair = |rated: &Rated| format!("{} {} {:?}", rated.image, rated.caption, rated.ratings);
        Ok((found.rated.iter().map(pair).collect(), found.missing))
    }

    #[test]
    fn both_files_of_flickr8k_are_known() {
        for (text, pairs) in [
            (
                "a\tb#1\t1\t1\t2\na\tc#2\t4\t3\t4\n",
                ["a b#1 [1.0, 1.0, 2.0]", "a c#2 [4.0, 3.0, 4.0]"],
            ),
            ("a,b#1,1,1,1\na,c#2,1,1,1\n", ["a b#1 [1.0, 1.0, 1.0]", "a c#2 [1.0, 1.0, 1.0]"]),
            ("a\tb#1\t1\t3\t0\na\tc#2\t0\t0\t3\n", ["a b#1 [1.0]", "a c#2 [0.0]"]),
            (
                "a\tb#1\t0.333333333333333\t1\t2\r\na\tc#2\t0.25\t1\t3",
                ["a b#1 [0.333333333333333]", "a c#2 [0.25]"],
            ),
            (
                "image,caption,percent,yes,no\na,b#1,1,3,0\na,c#2,0.67,2,1\n",
                ["a b#1 [1.0]", "a c#2 [0.67]"],
            ),
        ] {
            let pairs = pairs.map(str::to_owned).to_vec();
            assert_eq!(read_as(text, &[]), Ok((pairs, 0)), "{text}");
        }
    }

    #[test]
    fn a_missing_rating_is_left_out_wherever_it_stands() {
        for word in ["NA", "nan", "N/A", "", "null", "None"] {
            let first = format!("a,b#1,{word},3,4\na,c#2,1,2,2\n");
            let pairs = vec!["a b#1 [3.0, 4.0]".to_owned(), "a c#2 [1.0, 2.0, 2.0]".to_owned()];
            assert_eq!(read_as(&first, &[]), Ok((pairs, 1)), "{word:?}");
            let all = format!("a,b#1,{word}\na,c#2,0.5\n");
            assert_eq!(read_as(&all, &[]), Ok((vec!["a c#2 [0.5]".to_owned()], 1)), "{word:?}");
        }
        let crowd = "a,b#1,NA,0,3\na,c#2,1,3,0\n";
        assert_eq!(read_as(crowd, &[]), Ok((vec!["a c#2 [1.0]".to_owned()], 1)));
    }

    #[test]
    fn columns_are_named_by_header_or_number() {
        let text = "image,caption,n,rating_1,rating_2\na,b#1,7,0.5,2\n";
        for columns in [&[][..], &["rating_1", "rating_2"], &["4", "5"]] {
            assert_eq!(read_as(text, columns), Ok((vec!["a b#1 [0.5, 2.0]".to_owned()], 0)));
        }
        assert_eq!(read_as(text, &["n"]), Ok((vec!["a b#1 [7.0]".to_owned()], 0)));
        let counted = "image,caption,rating,rating_count,rating_std\na,b#1,0.5,3,0.1\n";
        assert_eq!(read_as(counted, &[]), Ok((vec!["a b#1 [0.5]".to_owned()], 0)));
        let swapped = "score,\"caption_id\",image\n0.5,\"b,#1\",a\n";
        assert_eq!(read_as(swapped, &[]), Ok((vec!["a b,#1 [0.5]".to_owned()], 0)));
    }

    #[test]
    fn what_could_be_several_things_is_asked_for() {
        for (text, columns, expected) in [
            ("a,b#1,3,5\n", &[][..], "--rating-columns 3,4"),
            ("a,b#1,1,2,5\n", &[], "--rating-columns 3,4,5"),
            ("image,caption,mean,n\na,b#1,3,5\n", &[], "--rating-columns mean,n"),
            ("image,caption,mean\na,b#1,3\n", &["median"], "there are image,caption,mean"),
            ("image,caption,mean\na,b#1,3\n", &["image"], "not a rating"),
            ("a,b#1,3\n", &["9"], "no column \"9\""),
            ("a,b#1,3\na,c#1,good\n", &[], "line 2: expected a rating in column 3, found \"good\""),
            ("a,b#1,3\na,c#1\n", &[], "line 2: 2 cells, but 3 in line 1"),
            ("a,b#1,3,x\n", &["4"], "line 1: expected a rating in column 4"),
            ("image,caption,rating\n", &[], "it holds no ratings"),
            ("a,b#1,inf\n", &["3"], "it holds no ratings"),
            ("a,b#1\n", &[], "line 1: expected an image"),
        ] {
            let error = read_as(text, columns).err().unwrap_or_default();
            assert!(error.contains("ratings.csv") && error.contains(expected), "{text}: {error}");
        }
    }
}
