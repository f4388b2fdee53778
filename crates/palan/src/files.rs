//! The file system of an image: its layers, merged.

use palan_layer::{
    Limits,
    tree::{Content, Tree},
};

use crate::{
    Error,
    image::Image,
    place::{Source, with_reader},
};

/// Reads every layer once, lowest first, and merges them as a container sees them: whiteouts and opaque directories
/// applied. With [`Content::Digest`], each file carries the SHA-256 of its content.
pub async fn files(source: &dyn Source, image: &Image, content: Content) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    for (number, layer) in image.manifest_view.layers.iter().enumerate() {
        let blob = source.open(layer, 0).await?;
        let merged = with_reader(blob, move |reader| {
            let merged = tree.apply_blob(number, reader, content, &Limits::default());
            merged.map(|_| tree)
        })
        .await?;
        tree = merged.map_err(|source| Error::Layer {
            digest: layer.digest,
            place: image.name.clone(),
            source,
        })?;
    }
    Ok(tree)
}
