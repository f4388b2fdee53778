//! Delete: take images and tags out of a place.
