//! The ledger as a store remembers it.

use std::{io, sync::Arc};

use bytes::Bytes;
use palan_core::{Digest, MediaType};

use super::{Held, Ledger, manifest::Parsed, verify::Fault};
use crate::{
    name::Name,
    store::Content,
    sync::{lock, write},
};

/// Everything that a store finds when it is opened.
#[derive(Default)]
pub(crate) struct Found {
    /// Content with its size in bytes.
    pub(crate) contents: Vec<(Digest, u64)>,
    /// Blobs of repositories, with the size they had.
    pub(crate) blobs: Vec<(Name, Digest, u64)>,
    pub(crate) manifests: Vec<(Name, Digest, MediaType)>,
    pub(crate) tags: Vec<(Name, String, Digest)>,
}

impl Ledger {
    /// Takes over what the store found. Facts about content that is not there or has another size are left out and
    /// noted as damage. Content that the system does not let us read now may well be intact: that is an error, with the
    /// digest in question.
    pub(crate) fn restore(&self, found: Found) -> Result<(), (Digest, io::Error)> {
        for (digest, size) in found.contents {
            self.stripe(&digest).insert(digest, Held { size, blobs: 0, manifests: 0 });
        }
        for (name, digest, size) in found.blobs {
            self.restore_blob(&name, &digest, size);
        }
        for (name, digest, media_type) in found.manifests {
            self.restore_manifest(&name, &digest, media_type).map_err(|error| (digest, error))?;
        }
        for (name, tag, digest) in found.tags {
            let repository = self.repository_or_new(&name);
            let mut state = write(&repository.state);
            state.known = true;
            if state.manifests.contains_key(&digest) {
                state.tags.insert(tag, digest);
            }
        }
        Ok(())
    }

    fn restore_blob(&self, name: &Name, digest: &Digest, size: u64) {
        let repository = self.repository_or_new(name);
        write(&repository.state).known = true;
        let mut contents = self.stripe(digest);
        let reason = match contents.get_mut(digest) {
            Some(held) if held.size == size => {
                held.blobs += 1;
                write(&repository.state).blobs.insert(*digest, size);
                return;
            }
            Some(held) => format!("has {} bytes instead of {size}", held.size),
            None if self.is_damaged(digest) => return,
            None => "is missing".to_owned(),
        };
        self.set_aside(contents, digest, &reason);
    }

    fn restore_manifest(&self, name: &Name, digest: &Digest, media_type: MediaType) -> io::Result<()> {
        let repository = self.repository_or_new(name);
        write(&repository.state).known = true;
        if self.is_damaged(digest) {
            return Ok(());
        }
        let bytes = match self.manifest_bytes(digest) {
            Ok(bytes) => bytes,
            Err(Fault::Damaged(reason)) => {
                self.set_aside(self.stripe(digest), digest, &reason);
                return Ok(());
            }
            Err(Fault::Unreadable(error)) => return Err(error),
        };
        // The content is what it should be; if it is no manifest, the fact that it is one is wrong.
        let Ok(parsed) = Parsed::read(bytes, Some(media_type), digest.algorithm()) else {
            self.note_damage(*digest, format!("is not a manifest, but is one in {name}"));
            return Ok(());
        };
        if let Some(held) = self.stripe(digest).get_mut(digest) {
            held.manifests += 1;
        }
        write(&repository.state).insert(Arc::new(parsed.manifest));
        Ok(())
    }

    fn manifest_bytes(&self, digest: &Digest) -> Result<Bytes, Fault> {
        let size = self.stripe(digest).get(digest).map(|held| held.size);
        let size = size.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let bytes = self.read(digest, size)?;
        Fault::check(digest, &digest.algorithm().digest(&bytes))?;
        Ok(bytes)
    }

    fn is_damaged(&self, digest: &Digest) -> bool {
        lock(&self.damage).iter().any(|damage| damage.digest == *digest)
    }

    fn read(&self, digest: &Digest, size: u64) -> io::Result<Bytes> {
        match self.store.open(digest, size, 0)? {
            Content::Bytes(bytes) => Ok(bytes),
            Content::File(mut file) => {
                let mut bytes = Vec::with_capacity(size as usize);
                io::Read::read_to_end(&mut file, &mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}
