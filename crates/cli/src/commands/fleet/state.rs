//! Where the journal of a run is: in a file, in a registry, or in both.

use std::path::{Path, PathBuf};

use palan::fleet::{Journal, JournalError, Lines, Remote, Shard};
use palan_core::{Digest, Repository};
use tempfile::TempDir;

use super::journal_failed;
use crate::{
    exit::{Failure, Result},
    session::Session,
};

#[derive(clap::Args)]
pub(super) struct StateArgs {
    /// Keep the journal in this repository of a registry, for all machines that work on the plan
    ///
    /// What is there is read first, and what is done is pushed after each wave, every 30 seconds and at the end. Then no
    /// file is needed: one that is named, or stands beside the plan, is used too.
    #[arg(long, value_name = "REPO")]
    pub(super) state: Option<Repository>,
}

impl StateArgs {
    /// What all machines have written down.
    pub(super) async fn fetch(&self, plan: Digest, session: &Session) -> Result<Lines> {
        match &self.state {
            Some(repository) => Ok(Remote::new(&session.places()?, repository, plan, None)?.fetch().await?),
            None => Ok(Lines::default()),
        }
    }

    /// Opens the journal of a run. `named`: by the user; `beside`: where it is otherwise.
    pub(super) async fn open(
        &self,
        named: Option<&Path>,
        beside: Option<PathBuf>,
        of: &Of,
        session: &Session,
    ) -> Result<Kept> {
        let opened: fn(&Path, Digest) -> std::result::Result<Journal, JournalError> =
            if of.dry_run { Journal::look } else { Journal::open };
        let beside = beside.filter(|path| self.state.is_none() || path.exists());
        let (path, folder) = match named.map(Path::to_owned).or(beside) {
            Some(path) => (path, None),
            None => {
                let folder = session.temporary_folder()?;
                (folder.path().join("journal.jsonl"), Some(folder))
            }
        };
        let (journal, lost) = match opened(&path, of.plan) {
            Err(JournalError::Damaged { .. }) if of.may_be_damaged => {
                Journal::salvage(&path, of.plan, !of.dry_run).map_err(journal_failed)?
            }
            opened => (opened.map_err(not_opened)?, Vec::new()),
        };
        for line in &lost {
            session.ui.warning(format!("line {line} of {} is damaged, and was skipped", path.display()));
        }
        let remote = match &self.state {
            None => None,
            Some(repository) => {
                let remote = Remote::new(&session.places()?, repository, of.plan, of.shard)?;
                journal.absorb(&remote.fetch().await?).map_err(journal_failed)?;
                Some(remote)
            }
        };
        Ok(Kept { journal, is_damaged: !lost.is_empty(), remote, _folder: folder })
    }
}

/// Whoever takes a journal away for a plan of the same name takes away the other one's way back.
fn not_opened(error: JournalError) -> Failure {
    let is_other = matches!(error, JournalError::OtherPlan { .. });
    let hint = "it is the way back of that plan: keep it, and give this plan another one with --journal FILE";
    journal_failed(error).with_hints(is_other.then(|| hint.to_owned()))
}

/// What a run is about.
pub(super) struct Of {
    pub(super) plan: Digest,
    pub(super) shard: Option<Shard>,
    pub(super) dry_run: bool,
    /// Whether lines that cannot be read are skipped, as by who looks at the tags, too.
    pub(super) may_be_damaged: bool,
}

/// The journal of a run.
pub(super) struct Kept {
    pub(super) journal: Journal,
    /// Lines of it were skipped.
    pub(super) is_damaged: bool,
    remote: Option<Remote>,
    _folder: Option<TempDir>,
}

impl Kept {
    /// Does the work of a run, and keeps what it writes down in the registry too, also when it is interrupted: it may be
    /// written nowhere else. The second result ends the command, after the first was told.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, palan::Error>>,
        session: &Session,
    ) -> Result<(T, Result)> {
        let Some(remote) = &self.remote else { return Ok((work.await?, Ok(()))) };
        let (done, pushed) = remote.keep(&self.journal, session.orderly(work)).await;
        let pushed = pushed.map_err(|error| {
            let failure = Failure::from(error);
            session.ui.warning(format!("the journal could not be pushed: {}", failure.chain().join(": ")));
            Failure::reported(failure.code)
        });
        match done? {
            Some(done) => Ok((done?, pushed)),
            None => Err(Failure::interrupted()),
        }
    }
}
