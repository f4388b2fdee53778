//! One repository of a registry.

use std::sync::Arc;

use http::Method;
use palan_core::Repository;

use crate::{
    Client, Error, TokenResponse,
    auth::Scopes,
    call::{Call, Target},
    config::{Endpoint, Place},
    registry::Registry,
    response::Response,
    transport::Transport,
};

/// The operations on one repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repo {
    client: Client,
    name: Repository,
    place: Arc<Place>,
    /// Whether reading may be served by mirrors.
    mirrors: bool,
    /// Mirrors that are not asked: their places in the list.
    excluded: Vec<usize>,
}

/// What a call needs to be allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
}

impl Repo {
    pub(crate) fn new(client: Client, name: Repository) -> Self {
        let place = Arc::new(client.0.settings.conf.locate(name.registry(), name.path()));
        Self { client, name, place, mirrors: true, excluded: Vec::new() }
    }

    /// The same repository without its mirrors: what is read is what stands where writing goes.
    #[must_use]
    pub fn primary(&self) -> Self {
        Self { mirrors: false, ..self.clone() }
    }

    /// The repository's name.
    pub fn name(&self) -> &Repository {
        &self.name
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A token for this repository from its registry's token service: to pull, with `push` also to push, and to pull
    /// from the repositories `mounts`. Asked for anew each time.
    ///
    /// An [`Error::Challenge`] says that the registry does not work with tokens.
    pub async fn token(&self, push: bool, mounts: &[Repository]) -> Result<TokenResponse, Error> {
        let registry = self.registry()?;
        let actions: &[&str] = if push { &["pull", "push"] } else { &["pull"] };
        let mut scopes = Scopes::repository(&self.place.primary.path, actions);
        for mount in mounts {
            let from = self.client.repository(mount);
            scopes.add(&Scopes::repository(&from.place.primary.path, &["pull"]));
        }
        self.transport().token(&registry, &self.place.primary.path, &scopes).await
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.client.0
    }

    pub(crate) fn registry(&self) -> Result<Arc<Registry>, Error> {
        self.place.check(&self.name)?;
        let Endpoint { registry, insecure, .. } = &self.place.primary;
        self.transport().registry(registry, *insecure)
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether reading may be served by mirrors: then what was read need not be in the registry itself.
    pub fn uses_mirrors(&self) -> bool {
        self.mirrors && !self.place.mirrors.is_empty()
    }

    /// Whether this mirror is asked.
    pub(crate) fn asks(&self, mirror: usize) -> bool {
        !self.excluded.contains(&mirror)
    }

    /// From now on this mirror is not asked by this repository (its clones are).
    pub(crate) fn exclude(&mut self, mirror: usize) {
        self.excluded.push(mirror);
    }

    /// A call of this repository; `rest` follows the repository's name: `manifests/latest`.
    pub(crate) fn call(&self, method: Method, rest: &str, access: Access) -> Result<Call<'static>, Error> {
        self.call_target(method, Target::Path(format!("/v2/{}/{rest}", self.place.primary.path)), access)
    }

    /// A call to where the registry pointed.
    pub(crate) fn call_target(
        &self,
        method: Method,
        target: Target,
        access: Access,
    ) -> Result<Call<'static>, Error> {
        let actions: &[&str] = match access {
            Access::Pull => &["pull"],
            Access::Push => &["pull", "push"],
            Access::Delete => &["delete", "pull", "push"],
        };
        let mut call = Call::new(&self.registry()?, method, target);
        self.place.primary.path.clone_into(&mut call.repository);
        call.scopes = Scopes::repository(&self.place.primary.path, actions);
        Ok(call)
    }

    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response, Error> {
        if self.uses_mirrors()
            && let Some(answer) = self.ask_mirrors(call).await
        {
            return Ok(answer);
        }
        self.transport().send(call).await
    }
}
