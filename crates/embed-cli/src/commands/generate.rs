//! `embed completions` and `embed man`: completion scripts for shells, and manual pages, for packagers.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use embed_core::{Error, ErrorKind};

use crate::exit::{Exit, file_error};
use crate::io::output::destination::write_whole;
use crate::io::output::print;

/// Print a script that completes commands and flags in a shell.
///
///   embed completions bash > ~/.local/share/bash-completion/completions/embed
///   embed completions zsh > ~/.zfunc/_embed
///   embed completions fish > ~/.config/fish/completions/embed.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual pages, one for each command.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder to write them to; it is created if it doesn't exist.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "embed", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(crate) fn man(args: &ManArgs, program: Command) -> Result<Exit, Error> {
    let folder = &args.output;
    std::fs::create_dir_all(folder)
        .map_err(|error| file_error("the folder can't be made", folder.display(), error))?;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    page(program, folder)?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and those of the commands in it.
fn page(command: Command, folder: &Path) -> Result<(), Error> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        page(command.clone(), folder)?;
    }
    let man = Man::new(command);
    let mut text = Vec::new();
    man.render(&mut text)
        .map_err(|error| Error::new(ErrorKind::Internal, "a manual page can't be made").with_source(error))?;
    write_whole(&folder.join(man.get_filename()), &text)
}
