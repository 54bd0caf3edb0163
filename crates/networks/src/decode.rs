//! Captions from image embeddings: greedy decoding, batched, with cached keys and values.
//!
//! ClipCap's `generate2` keeps the most probable tokens that hold 0.8 of the probability and takes
//! the most probable of those: always the most probable of all, so no filter is needed here. It
//! decodes one image at a time and reads the whole caption again for each token; the tokens are the
//! same.

use tch::{Device, Tensor};

use crate::prefix::ClipCaptioner;

/// When a caption ends.
#[derive(Debug, Clone, Copy)]
pub struct GreedyOptions<'a> {
    /// Longest caption, in tokens; the paper's is 67. Fewer where GPT-2's positions end.
    pub max_tokens: usize,
    /// By token id, whether a caption ends with it. Ids beyond the slice do not end one.
    pub stops: &'a [bool],
}

/// One caption for each row of `embeddings` `[batch, clip_dim]`: the most probable token at each
/// step, up to and including the first that stops it.
///
/// Neither the batch's other rows nor its size change a caption, except where two tokens are
/// equally probable up to rounding.
#[must_use]
pub fn greedy(
    captioner: &ClipCaptioner,
    embeddings: &Tensor,
    options: &GreedyOptions,
) -> Vec<Vec<i64>> {
    tch::no_grad(|| {
        let gpt2 = captioner.gpt2();
        let rows = embeddings.size()[0];
        let max_tokens = i64::try_from(options.max_tokens)
            .unwrap_or(i64::MAX)
            .min(captioner.max_caption_tokens());
        let mut captions = vec![Vec::new(); rows as usize];
        if rows == 0 || max_tokens < 1 {
            return captions;
        }
        let mut cache = gpt2.cache(rows, captioner.prefix_length() + max_tokens - 1);
        let mut inputs = captioner.prefix(embeddings);
        for step in 1..=max_tokens {
            let states = gpt2.forward_cached(&inputs, &mut cache);
            // Only the last state has anything new to say: [batch, hidden].
            let last = states.select(1, states.size()[1] - 1);
            let tokens = gpt2.logits(&last).argmax(-1, false);
            let all_ended = append(&mut captions, &tokens, options.stops);
            if all_ended || step == max_tokens {
                break;
            }
            inputs = gpt2.embed(&tokens.unsqueeze(1));
        }
        captions
    })
}

/// Appends a token to every caption that has not ended, and says whether all have now.
fn append(captions: &mut [Vec<i64>], tokens: &Tensor, stops: &[bool]) -> bool {
    let stops_at = |id: i64| usize::try_from(id).ok().and_then(|id| stops.get(id)) == Some(&true);
    let tokens = tokens.to_device(Device::Cpu);
    let mut all_ended = true;
    for (caption, row) in captions.iter_mut().zip(0..) {
        if caption.last().is_some_and(|&id| stops_at(id)) {
            continue;
        }
        let token = tokens.int64_value(&[row]);
        caption.push(token);
        all_ended &= stops_at(token);
    }
    all_ended
}
