//! Penn Treebank tokens of every line of the shared ground truth.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use caption_metrics::ptb::tokenize;
use support::{json_lines, strings};
use test_support::shared;

#[test]
fn lines_that_stand_alone_have_the_jars_tokens() {
    let Some(path) = shared("evaluator/ptb/visible.jsonl") else { return };
    let lines = json_lines(&path);
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let inputs: Vec<String> = lines.iter().map(|line| text(line, "in")).collect();
    let mut wrong = Vec::new();
    for (line, input) in lines.iter().zip(&inputs) {
        // Alone, between neighbours, and last: the outcome must be the same.
        for captions in [vec![input.as_str()], vec!["a dog", input, "a dog"]] {
            let tokens = &tokenize(&captions).captions[captions.len() / 2];
            if *tokens != text(line, "out") {
                wrong.push(format!("{input:?}: {tokens:?} instead of {}", line["out"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(lines.len() > 3000);
}

#[test]
fn files_in_which_lines_depend_on_each_other_have_the_jars_tokens() {
    let Some(path) = shared("evaluator/ptb/visible_context.jsonl") else { return };
    let mut compared = 0;
    for file in json_lines(&path) {
        let lines = strings(&file["lines"]);
        let tokens = tokenize(&lines);
        if tokens.with_line_separators == 0 {
            assert_eq!(tokens.captions, strings(&file["out"]), "{lines:?}");
            compared += 1;
        }
    }
    assert!(compared >= 140, "{compared}");
}
