//! A look at the files: what all layers of a planned result hold.

use palan_core::Document;
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
    verdict::{Assessment, Case},
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
    let (image_layers, new_layers) = tokio::try_join!(
        listings.of_image(source, image, ..),
        listings.of_image(new_source, new, splice.from..)
    )?;
    let (below, own) = image_layers.split_at(splice.end);
    let case = Case {
        old: below.to_vec(),
        new: [&below[..splice.start], &new_layers[..]].concat(),
        own: own.to_vec(),
        app_config: image.config.object()?,
        old_config: old.config.clone(),
        new_config: new.config.object()?,
        result_config: config.object()?,
        steps: steps(image, old, splice),
    };
    case.judge(&image.name, listings.judges()).await
}

/// What made the image's own layers, where its history says so.
fn steps(image: &Image, old: &Old, splice: Splice) -> Option<Vec<String>> {
    let layers = image.config_view.rootfs.diff_ids.len();
    let entries = history::own_steps(&old.history, &history_of(image), splice.end, layers)?;
    let command =
        |entry: &Value| entry.get("created_by").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(entries.iter().map(command).collect())
}
