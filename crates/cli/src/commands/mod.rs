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

use clap::{Args as _, Subcommand};

use crate::{exit::Result, session::Session};

/// The enum of the verbs, and how to make a parser of one of them alone.
macro_rules! verbs {
    ($($(#[$attribute:meta])* $name:literal => $verb:ident($args:ty),)*) => {
        #[derive(Subcommand)]
        pub(crate) enum Command {
            $($(#[$attribute])* #[command(name = $name)] $verb($args),)*
        }

        /// Adds the verbs to a parser: only the one of this name if there is one, or else all. Making the parsers of all of
        /// them takes longer than what most verbs do before they wait for a registry.
        pub(crate) fn augment(parser: clap::Command, name: Option<&str>) -> clap::Command {
            match name {
                $(Some($name) => parser.subcommand(<$args>::augment_args(clap::Command::new($name))),)*
                _ => Command::augment_subcommands(parser),
            }
        }
    };
}

verbs! {
    "append" => Append(append::Args),
    "auth" => Auth(auth::Args),
    "base" => Base(base::Args),
    "blob" => Blob(blob::Args),
    "catalog" => Catalog(catalog::Args),
    "completion" => Completion(completion::Args),
    "config" => Config(config::Args),
    "convert" => Convert(convert::Args),
    #[command(visible_alias = "cp")]
    "copy" => Copy(copy::Args),
    "delete" => Delete(delete::Args),
    "demo" => Demo(demo::Args),
    "digest" => Digest(digest::Args),
    #[command(hide = true)]
    "docs" => Docs(docs::Args),
    "edit" => Edit(edit::Args),
    "export" => Export(export::Args),
    "flatten" => Flatten(flatten::Args),
    "fleet" => Fleet(fleet::Args),
    "index" => Index(index::Args),
    "inspect" => Inspect(inspect::Args),
    "layers" => Layers(layers::Args),
    "layout" => Layout(layout::Args),
    "ls" => Ls(ls::Args),
    "manifest" => Manifest(manifest::Args),
    "mutate" => Mutate(Box<mutate::Args>),
    "pull" => Pull(pull::Args),
    "push" => Push(push::Args),
    "rebase" => Rebase(Box<rebase::Args>),
    "registry" => Registry(registry::Args),
    "tag" => Tag(tag::Args),
    "tree" => Tree(tree::Args),
    "validate" => Validate(validate::Args),
    "version" => Version(version::Args),
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
