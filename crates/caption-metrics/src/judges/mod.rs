//! Judge suites: published ratings of captions by people, and how scores agree with them.
//!
//! [`judge`] computes the figures that papers print for a suite, each beside the published one.
//! CIDEr's document frequencies are those of the suite's pairs, as in `CLIPScore`'s program.

mod composite;
mod files;
mod flickr8k;
mod pascal50s;
mod published;
mod rated;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use crate::correlate::{Kendall, Pair, score};
use crate::names::{UnknownName, parse};
use crate::{Error, Options, Protocol};
use files::Files;
use published::{PASCAL_50S, Published};
use rated::Rated;

pub use files::SuiteFile;

/// A collection of ratings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// Flickr8k-Expert: ratings from 1 to 4 by three experts; Kendall's tau-c.
    #[serde(rename = "flickr8k-expert")]
    Flickr8kExpert,
    /// Flickr8k-CF: the share of a crowd that accepts a caption; Kendall's tau-b.
    #[serde(rename = "flickr8k-cf")]
    Flickr8kCf,
    /// Composite: ratings from 1 to 5 on Flickr8k, Flickr30k and COCO; Kendall's tau-c.
    Composite,
    /// Pascal-50S: preferences between two captions; accuracy by category.
    #[serde(rename = "pascal-50s")]
    Pascal50s,
}

impl FromStr for Suite {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = [
            ("flickr8k-expert", Self::Flickr8kExpert),
            ("flickr8k-cf", Self::Flickr8kCf),
            ("composite", Self::Composite),
            ("pascal-50s", Self::Pascal50s),
        ];
        parse("suite", name, &known)
    }
}

/// The figures of a suite.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The suite.
    pub suite: Suite,
    /// Its files.
    pub files: Vec<SuiteFile>,
    /// A table for each published choice of pairs and references.
    pub tables: Vec<Table>,
}

/// The figures of one choice of pairs and references.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The choice, for people.
    pub choice: &'static str,
    /// Protocol of the scores.
    pub protocol: Protocol,
    /// The number of pairs.
    pub pairs: usize,
    /// The number of ratings of them.
    pub ratings: usize,
    /// Pairs that the choice leaves out.
    pub left_out: usize,
    /// The number of pairs of the published figures.
    pub published_pairs: usize,
    /// The paper and the table of the published figures.
    pub source: &'static str,
    /// The names of the figures of a metric.
    pub columns: &'static [&'static str],
    /// The figures of each metric.
    pub rows: Vec<Row>,
}

/// The figures of a metric, one for each column of its table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The metric's name, as in [`Scores`](crate::Scores).
    pub metric: &'static str,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// A figure, times 100.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// The figure that the files give.
    pub computed: f64,
    /// The figure of the paper, if it has one.
    pub published: Option<f64>,
}

/// Computes the figures of a suite whose files are in the folder `data`.
///
/// `seed` is that of the references that Pascal-50S draws.
///
/// # Errors
/// [`Error::MissingSuiteFile`] with what to put where, and the errors of reading and of
/// [`evaluate`](crate::evaluate).
pub fn judge(suite: Suite, data: &Path, options: &Options, seed: u64) -> Result<Report, Error> {
    let scores = |pairs: &[Pair]| score(pairs, options);
    let hint = match suite {
        Suite::Flickr8kExpert => flickr8k::EXPERT_HINT,
        Suite::Flickr8kCf => flickr8k::CF_HINT,
        Suite::Composite => composite::HINT,
        Suite::Pascal50s => pascal50s::HINT,
    };
    let mut files = Files { folder: data, hint, found: Vec::new() };
    let (rated, tau): (Vec<Rated>, fn(&Kendall) -> f64) = match suite {
        Suite::Flickr8kExpert => (flickr8k::expert(&mut files)?, Kendall::tau_c),
        Suite::Flickr8kCf => (flickr8k::crowd_flower(&mut files)?, Kendall::tau_b),
        Suite::Composite => (composite::read(&mut files)?, Kendall::tau_c),
        Suite::Pascal50s => {
            let preferences = pascal50s::read(&files.find(&[pascal50s::FILE])?)?;
            let (protocol, rows) = pascal50s::accuracies(&preferences, seed, scores)?;
            let table = Table {
                choice: "accuracy, the mean over five draws of five references",
                pairs: preferences.len(),
                ratings: preferences.iter().map(pascal50s::Preference::voters).sum(),
                left_out: 0,
                ..Table::new(&PASCAL_50S, protocol, rows)
            };
            return Ok(Report { suite, files: files.found, tables: vec![table] });
        }
    };
    let tables = rated.into_iter().map(|rated| {
        let (protocol, columns) = scores(&rated.pairs)?;
        let rows = rated.correlations(&columns, tau);
        Ok(Table {
            choice: rated.choice,
            pairs: rated.pairs.len(),
            ratings: rated.ratings(),
            left_out: rated.left_out,
            ..Table::new(rated.published, protocol, rows)
        })
    });
    let tables = tables.collect::<Result<_, Error>>()?;
    Ok(Report { suite, files: files.found, tables })
}

impl Table {
    /// Returns a table with the published figures beside those of `rows`.
    fn new(
        published: &'static Published,
        protocol: Protocol,
        rows: Vec<(&'static str, Vec<f64>)>,
    ) -> Self {
        let rows = rows.into_iter().map(|(metric, figures)| {
            let figures = figures.into_iter().enumerate().map(|(column, figure)| Figure {
                computed: figure * 100.0,
                published: published.figure(metric, column),
            });
            Row { metric, figures: figures.collect() }
        });
        Self {
            choice: "",
            protocol,
            pairs: 0,
            ratings: 0,
            left_out: 0,
            published_pairs: published.pairs,
            source: published.source,
            columns: published.columns,
            rows: rows.collect(),
        }
    }
}

impl fmt::Display for Table {
    /// Writes the metrics' figures, each with the published one in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns.iter().map(|column| format!("{column:>6}  {:8}", ""));
        let header = format!("{:14}{}", "", columns.collect::<String>());
        writeln!(f, "{}", header.trim_end())?;
        for Row { metric, figures } in &self.rows {
            let figures = figures.iter().map(|Figure { computed, published }| {
                let published = published.map(|figure| format!("({figure:.1})"));
                format!("{computed:6.1}  {:8}", published.unwrap_or_default())
            });
            let line = format!("{metric:14}{}", figures.collect::<String>());
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(f, "in parentheses: {}", self.source)
    }
}
