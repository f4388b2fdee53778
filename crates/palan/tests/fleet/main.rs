//! Fleets on the embedded registry: planned, applied, promoted, rolled back; and what may go wrong on the way.

#![allow(clippy::unwrap_used)]

mod world;

mod again;
mod conditions;
mod known;
mod left_alone;
mod operation;
mod real;
mod shared;
mod trouble;
mod waves;
