//! GPT-2's configuration and tokenizer in a run folder, which makes it self-contained.

use networks::gpt2::Gpt2Config;
use runs::RunFolder;
use words::Gpt2Tokenizer;

use crate::error::Error;
use crate::inputs::load_tokenizer;

/// Reads the configuration and the tokenizer that [`save`] wrote.
///
/// # Errors
/// Names the file; also if the tokenizer has more tokens than the model.
pub(crate) fn load(run: &RunFolder) -> Result<(Gpt2Config, Gpt2Tokenizer), Error> {
    let config = Gpt2Config::open(&run.gpt2())?;
    let tokenizer = load_tokenizer(&run.gpt2(), config.vocab_size)?;
    Ok((config, tokenizer))
}

/// Writes the configuration and the tokenizer.
///
/// # Errors
/// Names the file.
pub(crate) fn save(
    run: &RunFolder,
    config: &Gpt2Config,
    tokenizer: &Gpt2Tokenizer,
) -> Result<(), Error> {
    durable::create_dir_all(&run.gpt2())?;
    tokenizer.save(&run.gpt2())?;
    Ok(durable::write_json(&run.gpt2().join("config.json"), config)?)
}
