//! The file as an OCI artifact, so that a team shares one.

use std::{fs::File, io, path::Path, sync::Arc};

use palan_core::{Algorithm, Descriptor, Digest, Document, MediaType, annotation};
use palan_layer::HashingWriter;
use serde_json::json;

use super::{KnownBases, write::sorted_lines};
use crate::{
    Error,
    cancel::on_thread,
    copy::{self, Options},
    place::{
        Layout, Location, Memory, Overlay, Places, PutAs, Source, publish, temporary_in, verified,
        with_reader,
    },
};

/// Artifact type of an index of known bases.
const ARTIFACT_TYPE: &str = "application/vnd.palan.bases.v1";
/// Media type of the file inside.
const FILE_TYPE: &str = "application/vnd.palan.bases.v1+jsonl";

/// Writes the file at `path` as an artifact (image-spec "Guidelines for Artifact Usage"): an empty config, and the file
/// as its only layer. The same file gives the same digest.
pub async fn push(
    places: &Places,
    path: &Path,
    target: &Location,
    options: &Options,
) -> Result<Digest, Error> {
    let spool = Arc::new(Layout::in_temporary_folder(&options.scratch)?);
    let file = store(path, &spool).await?;
    let (root, new) = artifact(&file, path)?;
    let digest = root.digest();
    let role = PutAs::at(target, digest)?;
    let mut overlay = Overlay::new(new, Arc::clone(&spool) as Arc<dyn Source>);
    overlay.route([file.digest], spool);
    let source: Arc<dyn Source> = Arc::new(overlay);
    let target = places.target(target)?.place;
    copy::copy(&source, &target, vec![(root, role)], options).await?;
    target.finish().await?;
    Ok(digest)
}

/// Reads the file to where it is not changed any more, and checks it.
async fn store(path: &Path, spool: &Arc<Layout>) -> Result<Descriptor, Error> {
    let (path, spool) = (path.to_owned(), Arc::clone(spool));
    let work = move || {
        KnownBases::open(&path)?;
        for line in sorted_lines(&path)? {
            line?;
        }
        let mut file = File::open(&path).map_err(Error::io("read", &path))?;
        spool.write_blob(|out| {
            let mut copy = HashingWriter::new(out, Algorithm::Sha256);
            io::copy(&mut file, &mut copy).map_err(Error::io("read", &path))?;
            let (digest, size, _) = copy.finish();
            Ok((digest, Descriptor::new(MediaType::new(FILE_TYPE), digest, size)))
        })
    };
    on_thread(work).await?
}

fn artifact(file: &Descriptor, path: &Path) -> Result<(Document, Memory), Error> {
    let new = Memory::new();
    let config = new.add_blob(MediaType::OCI_EMPTY, &b"{}"[..]);
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let mut layer = file.clone();
    layer.annotations = Some([(annotation::TITLE.to_owned(), title.into_owned())].into());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": [layer],
    });
    let manifest = Document::from_value(&manifest, MediaType::OCI_MANIFEST)?;
    new.add_document(&manifest);
    Ok((manifest, new))
}

/// Reads an artifact that [`push`] wrote into the file at `path`, which is replaced; it is checked before.
pub async fn pull(places: &Places, source: &Location, path: &Path) -> Result<KnownBases, Error> {
    let opened = places.source(source)?;
    let place = opened.place.as_ref();
    let document = place.document(opened.chosen()?).await?;
    let manifest: palan_core::view::Manifest = crate::image::parsed(place, &document)?;
    let is_file = |layer: &&Descriptor| layer.media_type.as_str() == FILE_TYPE;
    let Some(blob) = manifest.layers.iter().find(is_file) else {
        let image = format!("{}@{}", place.name(), document.digest());
        let found = manifest.artifact_type.unwrap_or_else(|| "something else".to_owned());
        return Err(Error::WrongKind { image, found, wanted: "an index of known bases" });
    };
    let content = verified(place.name(), blob, place.open(blob, 0).await?);
    let target = path.to_owned();
    with_reader(content, move |reader| save(reader, &target)).await??;
    KnownBases::open(path)
}

fn save(reader: &mut impl io::Read, path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut file = temporary_in(folder).map_err(Error::io("write in", folder))?;
    io::copy(reader, file.as_file_mut()).map_err(Error::io("write", path))?;
    KnownBases::open(file.path())?;
    for line in sorted_lines(file.path())? {
        line?;
    }
    publish(file, path)
}
