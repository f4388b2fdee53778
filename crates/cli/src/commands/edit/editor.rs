//! Where the new text comes from: standard input or, where that is a terminal, an editor.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use palan::edit::Text;
use palan_core::{Document, MAX_DOCUMENT_SIZE};

use crate::{
    exit::{Code, Failure, Result},
    session::Session,
};

/// Whether there is somebody who could use an editor.
pub(super) fn is_wanted() -> bool {
    io::stdin().is_terminal()
}

/// A document that was typed.
pub(super) struct Typed {
    bytes: Vec<u8>,
    exact: bool,
}

impl Typed {
    pub(super) fn text(&self) -> Text<'_> {
        Text { bytes: &self.bytes, exact: self.exact }
    }
}

/// The new text for a document.
pub(super) async fn document(old: &Document, name: &str, session: &Session) -> Result<Typed> {
    if !is_wanted() {
        return Ok(Typed { bytes: blocking(input).await?, exact: true });
    }
    let file = File::new(name.as_bytes(), session)?;
    let text = serde_json::to_string_pretty(&old.object()?)?;
    fs::write(&file.path, text + "\n").map_err(|e| Failure::file("write", &file.path, e))?;
    let file = file.edit(session).await?;
    let bytes = fs::read(&file.path).map_err(|e| Failure::file("read", &file.path, e))?;
    Ok(Typed { bytes, exact: false })
}

/// All of standard input; what is too large for a document is cut, and refused as such later.
fn input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_DOCUMENT_SIZE + 1).read_to_end(&mut bytes)?;
    match bytes.iter().all(u8::is_ascii_whitespace) {
        true => Err(Failure::usage("nothing came from standard input")),
        false => Ok(bytes),
    }
}

/// A file of its own in a folder of its own, which goes with this value.
pub(super) struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    /// A file that has the last name of `path`, so that the editor knows what it is. It is not made yet.
    pub(super) fn new(path: &[u8], session: &Session) -> Result<Self> {
        let folder = session.temporary_folder()?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).replace(['/', '\\', ':', '\0'], "_");
        Ok(Self { path: folder.path().join(name), _folder: folder })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&self) -> Result<fs::File> {
        let file = fs::File::options().write(true).create_new(true).open(&self.path);
        file.map_err(|e| Failure::file("create", &self.path, e))
    }

    /// Lets the user edit it.
    pub(super) async fn edit(self, session: &Session) -> Result<Self> {
        let editor = session.env.editor();
        let mut command = command(&editor, &self.path);
        let status = blocking(move || Ok(command.status())).await?;
        let name = editor.to_string_lossy();
        match status {
            Ok(status) if status.success() => Ok(self),
            Ok(status) => {
                Err(Failure::new(Code::Failure, format!("the editor {name} failed: {}", words(status))))
            }
            Err(error) => Err(Failure::file("run the editor", Path::new(&editor), error).with_hint(
                "EDITOR names another one; without a terminal, the text is read from standard input",
            )),
        }
    }
}

/// The editor may have arguments, and its words may be quoted: the shell knows.
#[cfg(unix)]
fn command(editor: &std::ffi::OsStr, path: &Path) -> Command {
    let mut script = editor.to_owned();
    script.push(" \"$@\"");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg("editor").arg(path);
    command
}

#[cfg(not(unix))]
fn command(editor: &std::ffi::OsStr, path: &Path) -> Command {
    let mut command = Command::new(editor);
    command.arg(path);
    command
}

fn words(status: ExitStatus) -> String {
    status.code().map_or_else(|| "it was ended by a signal".to_owned(), |code| format!("exit code {code}"))
}

/// Standard input as a file.
pub(super) async fn spool(session: &Session) -> Result<File> {
    let file = File::new(b"content", session)?;
    let mut out = file.create()?;
    blocking(move || Ok(io::copy(&mut io::stdin().lock(), &mut out).map(drop)?)).await?;
    Ok(file)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::interrupted())?
}
