//! A look at the files: what all layers of a planned result hold.

use std::sync::Arc;

use futures_util::future::try_join_all;
use palan_core::Document;
use palan_layer::Listing;
use serde_json::Value;

use super::{
    history,
    old::{Old, history_of},
    one::Splice,
    tree::Node,
};
use crate::{
    Error,
    image::Image,
    listings::Listings,
    place::Source,
    verdict::{Assessment, Input, assess},
};

/// What is to be looked at.
pub(super) struct Subject<'a> {
    /// Where the image's layers are.
    pub(super) source: &'a dyn Source,
    pub(super) node: &'a Node,
    pub(super) old: &'a Old,
    /// Where the new base's layers are.
    pub(super) new_source: &'a dyn Source,
    pub(super) new: &'a Image,
    pub(super) splice: Splice,
    /// Config of the result.
    pub(super) config: &'a Document,
}

/// Reads what is not known yet of the layers, each once, and judges.
pub(super) async fn look(subject: Subject<'_>, listings: &Listings) -> Result<Assessment, Error> {
    let Subject { source, node, old, new_source, new, splice, config } = subject;
    let image = node.image.as_ref();
    let (image_layers, new_layers) =
        tokio::try_join!(read(source, image, 0, listings), read(new_source, new, splice.from, listings))?;
    let (below, own) = image_layers.split_at(splice.end);
    let (below, own) = (below.to_vec(), own.to_vec());
    let new_stack = [&below[..splice.start], &new_layers[..]].concat();
    let configs = [image.config.object()?, new.config.object()?, config.object()?];
    let old_config = old.config.clone();
    let steps = steps(image, old, splice);
    let judge = move || {
        let [app_config, new_config, result_config] = &configs;
        assess(&Input {
            old: &below,
            new: &new_stack,
            own: &own,
            app_config,
            old_config: old_config.as_ref(),
            new_config,
            result_config,
            steps: steps.as_deref(),
        })
    };
    let assessed = tokio::task::spawn_blocking(judge).await.map_err(|_| Error::Cancelled)?;
    assessed.map_err(|source| Error::NoFileSystem { image: image.name.clone(), source })
}

/// What made the image's own layers, where its history says so.
fn steps(image: &Image, old: &Old, splice: Splice) -> Option<Vec<String>> {
    let layers = image.config_view.rootfs.diff_ids.len();
    let entries = history::own_steps(&old.history, &history_of(image), splice.end, layers)?;
    let command =
        |entry: &Value| entry.get("created_by").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(entries.iter().map(command).collect())
}

async fn read(
    source: &dyn Source,
    image: &Image,
    from: usize,
    listings: &Listings,
) -> Result<Vec<Arc<Listing>>, Error> {
    let layers = image.manifest_view.layers.iter().zip(&image.config_view.rootfs.diff_ids).skip(from);
    try_join_all(layers.map(|(layer, diff_id)| listings.of(source, layer, *diff_id))).await
}
