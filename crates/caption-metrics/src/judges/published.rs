//! Figures that papers print for the judge suites, all times 100.

/// The figures of a table of a paper.
pub(super) struct Published {
    /// The paper and the table.
    pub(super) source: &'static str,
    /// The number of pairs that the figures are of.
    pub(super) pairs: usize,
    /// The names of the figures of a metric.
    pub(super) columns: &'static [&'static str],
    /// The figures of each metric; those of metrics that the paper leaves out are not there.
    pub(super) figures: &'static [(&'static str, &'static [f64])],
}

impl Published {
    /// Returns the figure of a metric in a column.
    pub(super) fn figure(&self, metric: &str, column: usize) -> Option<f64> {
        let row = self.figures.iter().find(|(name, _)| *name == metric);
        row.and_then(|(_, figures)| figures.get(column).copied())
    }
}

const TAU_B: &[&str] = &["tau-b"];
const TAU_C: &[&str] = &["tau-c"];

pub(super) const FLICKR8K_EXPERT: Published = Published {
    source: "CLIPScore (arXiv 2104.08718), Table 1",
    pairs: 5664,
    columns: TAU_C,
    figures: &[
        ("BLEU-1", &[32.3]),
        ("BLEU-4", &[30.8]),
        ("METEOR", &[41.8]),
        ("ROUGE_L", &[32.3]),
        ("CIDEr", &[43.9]),
        ("CLIPScore", &[51.2]),
        ("RefCLIPScore", &[53.0]),
    ],
};

pub(super) const FLICKR8K_CF: Published = Published {
    source: "CLIPScore (arXiv 2104.08718), Table 2; BLEU-1, which it leaves out, PAC-S (arXiv \
             2303.12112)",
    pairs: 47_830,
    columns: TAU_B,
    figures: &[
        ("BLEU-1", &[17.9]),
        ("BLEU-4", &[16.9]),
        ("METEOR", &[22.2]),
        ("ROUGE_L", &[19.9]),
        ("CIDEr", &[24.6]),
        ("CLIPScore", &[34.4]),
        ("RefCLIPScore", &[36.4]),
    ],
};

pub(super) const COMPOSITE: Published = Published {
    source: "CLIPScore (arXiv 2104.08718), Table 3",
    pairs: 11_985,
    columns: TAU_C,
    figures: &[
        ("BLEU-1", &[31.3]),
        ("BLEU-4", &[30.6]),
        ("METEOR", &[38.9]),
        ("ROUGE_L", &[32.4]),
        ("CIDEr", &[37.7]),
        ("CLIPScore", &[53.8]),
        ("RefCLIPScore", &[55.4]),
    ],
};

/// Its CLIPScore, which sees no references, is that of [`COMPOSITE`].
pub(super) const COMPOSITE_ALL_REFERENCES: Published = Published {
    source: "CLIPScore (arXiv 2104.08718), Table 6 (\"w/ GT\", whole numbers) and caption of Table 3",
    pairs: 11_985,
    columns: TAU_C,
    figures: &[
        ("BLEU-1", &[49.0]),
        ("BLEU-4", &[50.0]),
        ("METEOR", &[50.0]),
        ("ROUGE_L", &[49.0]),
        ("CIDEr", &[52.0]),
        ("CLIPScore", &[53.8]),
        ("RefCLIPScore", &[60.0]),
    ],
};

pub(super) const COMPOSITE_MACHINES: Published =
    Published { source: "none known", pairs: 7990, columns: TAU_C, figures: &[] };

pub(super) const PASCAL_50S: Published = Published {
    source: "CLIPScore (arXiv 2104.08718v3), Table 4",
    pairs: 4000,
    columns: &["HC", "HI", "HM", "MM", "mean"],
    figures: &[
        ("BLEU-4", &[60.4, 90.6, 84.9, 54.7, 72.6]),
        ("METEOR", &[63.8, 97.7, 93.7, 65.4, 80.1]),
        ("ROUGE_L", &[63.7, 95.3, 92.3, 61.2, 78.1]),
        ("CIDEr", &[65.1, 98.1, 90.5, 64.8, 79.6]),
        ("CLIPScore", &[56.5, 99.3, 96.4, 70.4, 80.7]),
        ("RefCLIPScore", &[64.5, 99.6, 95.4, 72.8, 83.1]),
    ],
};
