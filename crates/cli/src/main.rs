//! `palan`: patch, move, inspect and serve OCI images.
//!
//! This crate is the only one that prints, and the only one that knows the environment and the home directory.
//! One file per verb in `commands/`; what they share is the [`session::Session`].

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    rustdoc::bare_urls,
    reason = "doc comments are the help of the command line: brackets and URLs stand for themselves"
)]

mod args;
mod commands;
mod env;
mod exit;
mod explain;
mod limits;
mod reference;
mod registries;
mod session;
mod short_names;
mod signals;
mod switches;
mod ui;

use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    let env = env::Env::read();
    let ui = ui::Ui::new(&env);
    let parsed = match args::parse(std::env::args_os(), ui.colors()) {
        Ok(parsed) if !parsed.global.connection.short_names => parsed,
        Ok(parsed) => {
            let warn = |text: String| ui.warning(text);
            let names = match registries::registries_conf(&parsed.global.connection, &env, &warn) {
                Ok(names) => Arc::new(names),
                Err(failure) => return ui.failure(&failure).into(),
            };
            match args::parse_short(std::env::args_os(), ui.colors(), &names) {
                Ok(parsed) => parsed,
                Err(error) => return ui.parser(&error).into(),
            }
        }
        Err(error) => return ui.parser(&error).into(),
    };
    let session = session::Session::new(parsed.global, env, ui);
    match commands::run(parsed.command, &session) {
        Ok(()) => exit::Code::Ok.into(),
        Err(failure) => session.ui.failure(&failure).into(),
    }
}
