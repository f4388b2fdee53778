//! The printer: data on stdout, everything else on stderr, and nobody else prints.

mod log;
mod progress;
mod table;
pub(crate) mod text;

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

pub(crate) use progress::Progress;
pub(crate) use table::table;

use crate::{
    env::Env,
    exit::{Code, Failure, Result},
};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Where a command says things.
#[derive(Clone)]
pub(crate) struct Ui {
    color: bool,
    bars: bool,
}

impl Ui {
    pub(crate) fn new(env: &Env) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { color: terminal && !env.wants_no_color(), bars: terminal && !env.is_dumb_terminal() }
    }

    /// What the command line parser should do about colours.
    pub(crate) fn colors(&self) -> clap::ColorChoice {
        if self.color { clap::ColorChoice::Auto } else { clap::ColorChoice::Never }
    }

    /// Prints what the client warns of from now on, with `verbose` all debug messages of the libraries.
    pub(crate) fn listen(&self, verbose: bool) {
        log::install(verbose);
    }

    /// Raw data on stdout: nothing added, nothing changed.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// One line on stdout.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// A report for programs on stdout: indented JSON and a final newline.
    pub(crate) fn json(&self, report: &impl Serialize) -> Result {
        let mut text = serde_json::to_vec_pretty(report)?;
        text.push(b'\n');
        self.data(&text)
    }

    /// One sentence on stderr about what was done.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        self.stderr(|out| writeln!(out, "{}", text.as_ref()));
    }

    /// Something the user should know.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.stderr(|out| writeln!(out, "{CYAN}note:{CYAN:#} {}", text.as_ref()));
    }

    /// Something the user should look at.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        self.stderr(|out| writeln!(out, "{YELLOW}warning:{YELLOW:#} {}", text.as_ref()));
    }

    /// The error, its causes, what to try next.
    pub(crate) fn failure(&self, failure: &Failure) -> Code {
        if !failure.is_silent() {
            let chain = failure.chain();
            self.stderr(|out| {
                for (i, text) in chain.iter().enumerate() {
                    match i {
                        0 => writeln!(out, "{RED}error:{RED:#} {text}")?,
                        _ => writeln!(out, "  caused by: {text}")?,
                    }
                }
                match &failure.hint {
                    Some(hint) => writeln!(out, "{CYAN}hint:{CYAN:#} {hint}"),
                    None => Ok(()),
                }
            });
        }
        failure.code
    }

    /// Help, the version, or why the command line is wrong.
    pub(crate) fn parser(&self, error: &clap::Error) -> Code {
        match error.print() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Code::BrokenPipe,
            _ if error.exit_code() == 0 => Code::Ok,
            _ => Code::Usage,
        }
    }

    /// Progress of transfers: bars on a terminal, in a pipe only notes.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.clone(), self.bars)
    }

    /// A message that cannot be written has nowhere else to go.
    fn stderr(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        let choice = if self.color { ColorChoice::Always } else { ColorChoice::Never };
        let mut out = AutoStream::new(io::stderr().lock(), choice);
        let _ = write(&mut out);
    }
}
