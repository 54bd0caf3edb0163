//! `capsmith completions` and `capsmith man`: shell completions and manual pages.

use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;

use crate::{command_line, terminal};

/// Print the completions of a shell.
///
/// For bash: capsmith completions bash > ~/.local/share/bash-completion/completions/capsmith
#[derive(clap::Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write the pages of all commands to a folder.
///
/// To read it: capsmith man | man -l -
#[derive(clap::Args)]
pub struct ManArgs {
    /// Folder for the pages of all commands, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line(), "capsmith", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}

pub fn man(args: &ManArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.out {
        durable::create_dir_all(folder)?;
        return Ok(clap_mangen::generate_to(command_line(), folder)?);
    }
    let mut page = Vec::new();
    Man::new(command_line()).render(&mut page)?;
    terminal::print(&String::from_utf8_lossy(&page))
}
