//! List: what an index lists.

use palan_core::{Descriptor, Kind, Selector, view};

use crate::{Error, image, place::Source};

/// The entries of an index, in its order, as they stand there. Reads the index only.
///
/// Fails with [`Error::WrongKind`] for a single image. What a layout lists itself is
/// [`Layout::entries`](crate::place::Layout::entries).
pub async fn list(source: &dyn Source, selector: &Selector) -> Result<Vec<Descriptor>, Error> {
    let document = source.document(selector).await?;
    if document.kind() != Kind::Index {
        return Err(super::not_an_index(source, &document));
    }
    Ok(image::parsed::<view::Index>(source, &document)?.manifests)
}
