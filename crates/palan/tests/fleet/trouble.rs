//! What may go wrong.

mod meanwhile;
mod paper;
mod scene;
mod together;
