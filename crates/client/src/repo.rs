//! One repository of a registry.

use std::sync::Arc;

use http::Method;
use palan_core::Repository;

use crate::{
    Client, Error,
    auth::Scopes,
    registry::Registry,
    response::Response,
    transport::{Call, Target, Transport},
};

/// The operations on one repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repo {
    client: Client,
    name: Repository,
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
        Self { client, name }
    }

    /// The repository's name.
    pub fn name(&self) -> &Repository {
        &self.name
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.client.0
    }

    pub(crate) fn registry(&self) -> Result<Arc<Registry>, Error> {
        self.transport().registry(self.name.registry())
    }

    /// A call of this repository; `rest` follows the repository's name: `manifests/latest`.
    pub(crate) fn call(&self, method: Method, rest: &str, access: Access) -> Result<Call<'static>, Error> {
        self.call_target(method, Target::Path(format!("/v2/{}/{rest}", self.name.path())), access)
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
        self.name.path().clone_into(&mut call.repository);
        call.scopes = Scopes::repository(self.name.path(), actions);
        Ok(call)
    }

    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response, Error> {
        self.transport().send(call).await
    }
}
