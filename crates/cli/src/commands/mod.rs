//! The verbs, one file each: resolve, check, act, say one sentence.
//!
//! The doc comment of a verb's `Args` is its help and its entry in the reference.

mod append;
mod auth;
mod base;
mod blob;
mod catalog;
mod completion;
mod config;
mod convert;
mod copy;
mod delete;
mod demo;
mod digest;
mod docs;
mod dry;
mod edit;
mod export;
mod flatten;
mod fleet;
mod index;
mod inspect;
mod layers;
mod layout;
mod ls;
mod manifest;
mod mutate;
mod pull;
mod push;
mod read;
mod rebase;
mod registry;
mod tag;
mod tree;
mod validate;
mod verdict;
mod version;
mod write;

use clap::Subcommand;

use crate::{exit::Result, session::Session};

#[derive(Subcommand)]
pub(crate) enum Command {
    Append(append::Args),
    Auth(auth::Args),
    Base(base::Args),
    Blob(blob::Args),
    Catalog(catalog::Args),
    Completion(completion::Args),
    Config(config::Args),
    Convert(convert::Args),
    #[command(visible_alias = "cp")]
    Copy(copy::Args),
    Delete(delete::Args),
    Demo(demo::Args),
    Digest(digest::Args),
    #[command(hide = true)]
    Docs(docs::Args),
    Edit(edit::Args),
    Export(export::Args),
    Flatten(flatten::Args),
    Fleet(fleet::Args),
    Index(index::Args),
    Inspect(inspect::Args),
    Layers(layers::Args),
    Layout(layout::Args),
    Ls(ls::Args),
    Manifest(manifest::Args),
    Mutate(Box<mutate::Args>),
    Pull(pull::Args),
    Push(push::Args),
    Rebase(Box<rebase::Args>),
    Registry(registry::Args),
    Tag(tag::Args),
    Tree(tree::Args),
    Validate(validate::Args),
    Version(version::Args),
}

/// Runs a command. The first three need no network, and no runtime is started for them.
pub(crate) fn run(command: Command, session: &Session) -> Result {
    match command {
        Command::Version(args) => version::run(&args, session),
        Command::Completion(args) => completion::run(&args, session),
        Command::Docs(args) => docs::run(&args, session),
        Command::Append(args) => session.block_on(append::run(&args, session)),
        Command::Auth(args) => session.block_on(auth::run(&args, session)),
        Command::Base(args) => session.block_on(base::run(&args, session)),
        Command::Blob(args) => session.block_on(blob::run(&args, session)),
        Command::Catalog(args) => session.block_on(catalog::run(&args, session)),
        Command::Config(args) => session.block_on(config::run(&args, session)),
        Command::Convert(args) => session.block_on(convert::run(&args, session)),
        Command::Copy(args) => session.block_on(copy::run(&args, session)),
        Command::Delete(args) => session.block_on(delete::run(&args, session)),
        Command::Demo(args) => session.block_on(demo::run(&args, session)),
        Command::Digest(args) => session.block_on(digest::run(&args, session)),
        Command::Edit(args) => session.block_on(edit::run(&args, session)),
        Command::Export(args) => session.block_on(export::run(&args, session)),
        Command::Flatten(args) => session.block_on(flatten::run(&args, session)),
        Command::Fleet(args) => session.block_on(fleet::run(&args, session)),
        Command::Index(args) => session.block_on(index::run(&args, session)),
        Command::Inspect(args) => session.block_on(inspect::run(&args, session)),
        Command::Layers(args) => session.block_on(layers::run(&args, session)),
        Command::Layout(args) => session.block_on(layout::run(&args, session)),
        Command::Ls(args) => session.block_on(ls::run(&args, session)),
        Command::Manifest(args) => session.block_on(manifest::run(&args, session)),
        Command::Mutate(args) => session.block_on(mutate::run(&args, session)),
        Command::Pull(args) => session.block_on(pull::run(&args, session)),
        Command::Push(args) => session.block_on(push::run(&args, session)),
        Command::Rebase(args) => session.block_on(rebase::run(&args, session)),
        Command::Registry(args) => registry::run(&args, session),
        Command::Tag(args) => session.block_on(tag::run(&args, session)),
        Command::Tree(args) => session.block_on(tree::run(&args, session)),
        Command::Validate(args) => session.block_on(validate::run(&args, session)),
    }
}
