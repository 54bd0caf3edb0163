//! Training texts of SBG: `kw1, kw2, ... ### caption<|endoftext|>`, joined and cut into blocks.

use networks::language_model::Block;
use recipes::{Text, TextLoss};
use words::Gpt2Tokenizer;

use crate::error::Error;

/// Special token of GPT-2 that ends a text.
const END: &str = "<|endoftext|>";

/// Tokens of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextTokens {
    prompt: Vec<i64>,
    /// Tokens of the caption and the end of the text.
    caption: Vec<i64>,
}

/// Returns the id of the token that ends a text.
pub fn end_of_text(tokenizer: &Gpt2Tokenizer) -> Result<i64, Error> {
    match tokenizer.encode(END)?[..] {
        [id] => Ok(i64::from(id)),
        _ => Err(Error::Mismatch(format!(
            "the tokenizer has no token {END}, which ends SBG's texts; use GPT-2's, or one that capsmith trained"
        ))),
    }
}

/// Tokenizes texts, each given by the index of its prompt in `prompts` and by its caption.
///
/// The tokens are those of the whole text: GPT-2's tokenizer joins nothing across the space between
/// prompt and caption.
pub(super) fn tokenize(
    tokenizer: &Gpt2Tokenizer,
    prompts: &[String],
    captions: &[(usize, String)],
) -> Result<Vec<TextTokens>, Error> {
    let end = end_of_text(tokenizer)?;
    let prompts = token_rows(tokenizer, prompts)?;
    let behind: Vec<String> = captions.iter().map(|(_, caption)| format!(" {caption}")).collect();
    let texts = token_rows(tokenizer, &behind)?.into_iter().zip(captions);
    let texts = texts.map(|(mut caption, (prompt, _))| {
        caption.push(end);
        TextTokens { prompt: prompts[*prompt].clone(), caption }
    });
    Ok(texts.collect())
}

/// Returns the tokens of each text as `i64`.
pub(super) fn token_rows(
    tokenizer: &Gpt2Tokenizer,
    texts: &[String],
) -> Result<Vec<Vec<i64>>, Error> {
    let rows = tokenizer.encode_batch(texts)?;
    Ok(rows.into_iter().map(|ids| ids.into_iter().map(i64::from).collect()).collect())
}

/// Joins texts in groups of [`Text::texts_together`] and cuts each group into blocks.
///
/// The remainder of a group is dropped, as in the script of transformers that SBG is trained with.
pub(super) fn blocks(texts: &[TextTokens], text: &Text) -> Vec<Block> {
    let prompts_count = text.loss == TextLoss::All;
    let mut blocks = Vec::new();
    for group in texts.chunks(text.texts_together) {
        let (mut tokens, mut is_target) = (Vec::new(), Vec::new());
        for TextTokens { prompt, caption } in group {
            tokens.extend_from_slice(prompt);
            tokens.extend_from_slice(caption);
            is_target.resize(tokens.len() - caption.len(), prompts_count);
            is_target.resize(tokens.len(), true);
        }
        let cut = tokens.chunks_exact(text.block_size).zip(is_target.chunks_exact(text.block_size));
        blocks.extend(cut.map(|(tokens, is_target)| Block {
            tokens: tokens.to_vec(),
            is_target: is_target.to_vec(),
        }));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Gpt2Tokenizer {
        let texts = ["dog, grass, run ### a dog runs on the grass .", "man ### a man sits ."];
        Gpt2Tokenizer::train(texts, 300).unwrap()
    }

    #[test]
    fn a_text_in_two_parts_has_the_tokens_of_the_whole() {
        let tokenizer = tokenizer();
        let prompts = ["dog, grass ###".to_owned(), " ###".to_owned()];
        for caption in ["a dog runs .", "\"a dog\" runs .", " two  spaces .", "### a", ".", ""] {
            for (index, prompt) in prompts.iter().enumerate() {
                let captions = [(index, caption.to_owned())];
                let [text] = &tokenize(&tokenizer, &prompts, &captions).unwrap()[..] else {
                    panic!("one text");
                };
                let whole = format!("{prompt} {caption}{END}");
                let whole = token_rows(&tokenizer, &[whole]).unwrap().remove(0);
                assert_eq!([&text.prompt[..], &text.caption[..]].concat(), whole, "{caption:?}");
            }
        }
    }

    #[test]
    fn texts_are_cut_in_groups_and_the_rest_of_each_is_left_out() {
        let text = |first: i64| TextTokens { prompt: vec![first, 1], caption: vec![2, 3, 0] };
        let texts: Vec<TextTokens> = (10..15).map(text).collect();
        let settings = |loss| Text { block_size: 4, texts_together: 2, loss };
        let all = blocks(&texts, &settings(TextLoss::All));
        // Groups of 10, 10 and 5 tokens give two, two and one blocks.
        let tokens: Vec<&[i64]> = all.iter().map(|block| &block.tokens[..]).collect();
        let expected: [&[i64]; 5] =
            [&[10, 1, 2, 3], &[0, 11, 1, 2], &[12, 1, 2, 3], &[0, 13, 1, 2], &[14, 1, 2, 3]];
        assert_eq!(tokens, expected);
        assert!(all.iter().all(|block| block.is_target == [true; 4]));
        let captions = blocks(&texts, &settings(TextLoss::Caption));
        assert_eq!(captions[0].is_target, [false, false, true, true]);
        assert_eq!(captions[1].is_target, [true, false, false, true]);
    }
}
