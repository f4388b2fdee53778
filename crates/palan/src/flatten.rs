//! Flatten: the layers of an image as one.
