//! Export: the files of an image as one tar archive.
