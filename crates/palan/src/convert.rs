//! Convert: the same image in another form: media types, compression, digest algorithm, annotations.
