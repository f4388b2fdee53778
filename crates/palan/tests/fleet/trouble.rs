//! What may go wrong.
