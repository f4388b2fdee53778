//! The command line as people and scripts see it: stdout, stderr and exit code of every command.

mod auth;
mod bad_input;
mod context;
mod fixture;
mod look;
mod move_images;
mod rebase;
mod serve;
mod usage;

use context::TestContext;
use fixture::{families, family};
