//! The command line as people and scripts see it: stdout, stderr and exit code of every command.

// Helpers are not tests to clippy, and a test fails by panicking.
#![allow(clippy::unwrap_used)]

#[cfg(unix)]
mod append;
mod auth;
mod auth_registries;
mod auth_tls;
mod auth_token;
mod bad_input;
mod bad_layers;
mod base;
mod companions;
mod context;
mod convert;
mod copy;
mod delete;
mod demo;
mod demo_fleet;
mod edit;
mod export;
mod faults;
mod fixture;
mod flatten;
#[cfg(unix)]
mod fleet_recipes;
mod fleet_report;
#[cfg(unix)]
mod fleet_run;
mod fleet_scan;
mod fleet_state;
mod index;
mod layers;
mod layout;
mod limits;
mod look;
mod move_images;
mod mutate;
mod parity;
mod patch_source;
mod pull;
mod push;
mod rebase;
mod requests;
mod serve;
mod signals;
mod usage;
mod validate;

use context::TestContext;
use fixture::{families, family};
