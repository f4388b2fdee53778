//! Rebase against the embedded registry and other places. Cases are named after the failures that were observed in
//! other tools: `c3_1_1` is case 3.1.1 of that list.

#![allow(clippy::unwrap_used)]

mod fixture;
mod verdicts;
mod world;

mod choices;
mod cost;
mod hints;
mod index;
mod layers;
mod matrix;
mod metadata;
mod places;
mod platforms;
mod target;
