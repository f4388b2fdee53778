//! palan
fn main() {}
