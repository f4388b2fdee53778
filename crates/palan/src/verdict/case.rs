//! A case to judge: what [`assess`] looks at, read and kept.

use std::sync::Arc;

use palan_layer::{Listing, tree::Tree};
use serde_json::{Map, Value};

use super::{Assessment, Input, assess, settings::Settings};
use crate::{
    Error,
    cancel::{Crew, on_thread},
};

/// Owns what an [`Input`] borrows.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) old: Vec<Arc<Listing>>,
    pub(crate) new: Vec<Arc<Listing>>,
    pub(crate) own: Vec<Arc<Listing>>,
    pub(crate) app_config: Map<String, Value>,
    pub(crate) old_config: Option<Map<String, Value>>,
    pub(crate) new_config: Map<String, Value>,
    pub(crate) result_config: Map<String, Value>,
    pub(crate) steps: Option<Vec<String>>,
}

impl Case {
    /// Judges, when one of the judges has time.
    ///
    /// Fails with [`Error::NoFileSystem`], which names `image`, where the layers of a base do not fit together.
    pub(crate) async fn judge(self, image: &str, judges: &Crew) -> Result<Assessment, Error> {
        let judge = move || {
            assess(&Input {
                old: &self.old,
                new: &self.new,
                own: &self.own,
                app_config: &self.app_config,
                old_config: self.old_config.as_ref(),
                new_config: &self.new_config,
                result_config: &self.result_config,
                steps: self.steps.as_deref(),
            })
        };
        let assessed = judges.work(judge).await?;
        assessed.map_err(|source| Error::NoFileSystem { image: image.to_owned(), layer: None, source })
    }
}

/// Whether the file system that layers make has the program that a config starts.
pub(crate) async fn starts(layers: Vec<Arc<Listing>>, config: Map<String, Value>) -> Result<bool, Error> {
    let look = move || {
        let mut tree = Tree::new();
        let fits = layers.iter().enumerate().all(|(at, layer)| tree.apply_listing(at, layer).is_ok());
        let settings = Settings::new(&config);
        fits && settings.program().is_some_and(|program| settings.starts(&tree, program))
    };
    on_thread(look).await
}
