//! Published scores of the paper.

use runs::ScoredCaptions;

/// A table of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Flickr8k.
    One,
    /// Flickr30k.
    Two,
}

/// A row of both tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// CLIP-prefix (Original).
    PrefixOriginal,
    /// CLIP-prefix with gradient clipping.
    PrefixGradientClipping,
    /// CLIP-prefix with a tokenizer of its own.
    PrefixCustomTokenizer,
    /// SBG, one caption.
    Sbg1,
    /// SBG, the better of two captions.
    Sbg2,
    /// SBG, the best of five captions.
    Sbg5,
    /// Merge-RNN.
    MergeRnn,
}

/// Names of the published scores, in the order of the paper.
pub const COLUMNS: [&str; 6] = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE_L"];

impl Table {
    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "table1",
            Self::Two => "table2",
        }
    }

    /// Returns the name of the data set.
    #[must_use]
    pub fn data_set(self) -> &'static str {
        match self {
            Self::One => "Flickr8k",
            Self::Two => "Flickr30k",
        }
    }

    /// Returns the published scores of a row, in the order of [`COLUMNS`].
    #[must_use]
    pub fn published(self, row: Row) -> [f64; 6] {
        match (self, row) {
            (Self::One, Row::PrefixOriginal) => [0.698, 0.508, 0.363, 0.259, 0.257, 0.565],
            (Self::One, Row::PrefixGradientClipping) => [0.700, 0.513, 0.372, 0.262, 0.257, 0.569],
            (Self::One, Row::PrefixCustomTokenizer) => [0.682, 0.497, 0.351, 0.246, 0.249, 0.557],
            (Self::One, Row::Sbg1) => [0.499, 0.276, 0.153, 0.087, 0.167, 0.410],
            (Self::One, Row::Sbg2) => [0.520, 0.293, 0.161, 0.089, 0.179, 0.420],
            (Self::One, Row::Sbg5) => [0.546, 0.319, 0.186, 0.108, 0.192, 0.444],
            (Self::One, Row::MergeRnn) => [0.601, 0.411, 0.272, 0.179, 0.191, 0.439],
            (Self::Two, Row::PrefixOriginal) => [0.715, 0.506, 0.351, 0.243, 0.232, 0.529],
            (Self::Two, Row::PrefixGradientClipping) => [0.715, 0.503, 0.349, 0.235, 0.233, 0.528],
            (Self::Two, Row::PrefixCustomTokenizer) => [0.733, 0.525, 0.366, 0.254, 0.232, 0.536],
            (Self::Two, Row::Sbg1) => [0.495, 0.261, 0.139, 0.076, 0.154, 0.378],
            (Self::Two, Row::Sbg2) => [0.510, 0.279, 0.150, 0.082, 0.164, 0.391],
            (Self::Two, Row::Sbg5) => [0.543, 0.304, 0.170, 0.095, 0.175, 0.411],
            (Self::Two, Row::MergeRnn) => [0.596, 0.404, 0.270, 0.181, 0.175, 0.416],
        }
    }
}

impl Row {
    /// All rows, in the order of the paper.
    pub const ALL: [Self; 7] = [
        Self::PrefixOriginal,
        Self::PrefixGradientClipping,
        Self::PrefixCustomTokenizer,
        Self::Sbg1,
        Self::Sbg2,
        Self::Sbg5,
        Self::MergeRnn,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrefixOriginal => "prefix-original",
            Self::PrefixGradientClipping => "prefix-gradient-clipping",
            Self::PrefixCustomTokenizer => "prefix-custom-tokenizer",
            Self::Sbg1 => "sbg-1",
            Self::Sbg2 => "sbg-2",
            Self::Sbg5 => "sbg-5",
            Self::MergeRnn => "merge-rnn",
        }
    }

    /// Returns the title in the paper.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::PrefixOriginal => "CLIP-prefix (Original)",
            Self::PrefixGradientClipping => "CLIP-prefix, gradient clipping",
            Self::PrefixCustomTokenizer => "CLIP-prefix, custom tokenizer",
            Self::Sbg1 => "SBG, one caption",
            Self::Sbg2 => "SBG, top-2",
            Self::Sbg5 => "SBG, top-5",
            Self::MergeRnn => "Merge-RNN",
        }
    }

    /// Returns the name of its configuration; the rows of SBG share one.
    #[must_use]
    pub fn config(self) -> &'static str {
        match self {
            Self::Sbg1 | Self::Sbg2 | Self::Sbg5 => "sbg",
            other => other.name(),
        }
    }

    /// Returns the name of its folder, or that of its control, under a run's `evaluation/`.
    #[must_use]
    pub fn evaluation(self, control: bool) -> String {
        let best_of = match self {
            Self::Sbg1 => Some(1),
            Self::Sbg2 => Some(2),
            Self::Sbg5 => Some(5),
            _ => None,
        };
        format!("test{}", ScoredCaptions { control, best_of })
    }
}

#[cfg(test)]
mod tests {
    use recipes::Config;

    use super::*;

    #[test]
    fn runs_have_the_titles_of_their_rows() {
        let title = |row: Row, samples: &[&str]| {
            let samples: Vec<String> = samples.iter().map(ToString::to_string).collect();
            let config = Config::built_in(&format!("flickr8k/{}.toml", row.config()), &samples);
            let config = config.unwrap();
            config.title(&config.decoding)
        };
        for row in
            [Row::PrefixGradientClipping, Row::PrefixCustomTokenizer, Row::Sbg5, Row::MergeRnn]
        {
            assert_eq!(title(row, &[]), row.title());
        }
        let samples = "decoding.strategy.num_return_sequences";
        assert_eq!(
            title(Row::Sbg1, &[&format!("{samples}=1"), "reranking.best_of=[1]"]),
            Row::Sbg1.title()
        );
        assert_eq!(
            title(Row::Sbg2, &[&format!("{samples}=2"), "reranking.best_of=[2]"]),
            Row::Sbg2.title()
        );
        assert_eq!(title(Row::PrefixOriginal, &[]), "CLIP-prefix");
    }
}
