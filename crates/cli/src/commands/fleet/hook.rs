//! Hooks: programs that look at candidates.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use palan::fleet::{Candidate, Hook, HookOutput};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use crate::env::Env;

/// How much of what a hook says is kept: its end.
const KEPT: usize = 4 * 1024;

/// How long the pipes of a hook that has ended are read on.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs hooks as programs of this machine, in the folder of their plan: a plan and its hooks are taken elsewhere together.
pub(super) struct Exec {
    folder: PathBuf,
    /// Where programs are that are named without a folder.
    path: Vec<PathBuf>,
}

impl Exec {
    pub(super) fn beside(plan: &Path, env: &Env) -> Self {
        let plan = std::path::absolute(plan).unwrap_or_else(|_| plan.to_owned());
        Self { folder: plan.parent().unwrap_or(&plan).to_owned(), path: env.programs() }
    }

    /// The program that a name means; a bare name is left to the system.
    fn program(&self, name: &str) -> PathBuf {
        if is_bare(name) { name.into() } else { self.folder.join(name) }
    }
}

/// Whether a name is looked for in `PATH`.
fn is_bare(name: &str) -> bool {
    !name.contains(std::path::is_separator)
}

#[async_trait]
impl Hook for Exec {
    async fn check(&self, command: &[String]) -> Result<(), String> {
        let Some(name) = command.first() else { return Err("there is no program to run".into()) };
        if is_bare(name) {
            let mut all = self.path.iter().map(|folder| self.folder.join(folder).join(name));
            // The system has a PATH of its own where there is none; elsewhere names stand for files with endings.
            let is_left_to_it = cfg!(not(unix)) || self.path.is_empty();
            return match is_left_to_it || all.any(|file| is_program(&file)) {
                true => Ok(()),
                false => Err(format!("there is no program {name} in PATH")),
            };
        }
        let file = self.program(name);
        match (file.exists(), is_program(&file)) {
            (_, true) => Ok(()),
            (true, false) => Err(format!("{name} may not be executed")),
            (false, false) if Path::new(name).is_absolute() => Err(format!("there is no {name}")),
            (false, false) => Err(format!("there is no {name} in the folder of the plan")),
        }
    }

    async fn run(&self, command: &[String], timeout: Duration, candidate: &Candidate<'_>) -> HookOutput {
        let refused = |output: String| HookOutput { passed: false, output };
        let Some((program, arguments)) = command.split_first() else {
            return refused("there is no program to run".into());
        };
        let mut hook = Command::new(self.program(program));
        hook.args(arguments)
            .current_dir(&self.folder)
            .env("PALAN_IMAGE", candidate.image.to_string())
            .env("PALAN_DIGEST", candidate.digest.to_string())
            .env("PALAN_CANDIDATE", candidate.candidate.to_string())
            .env("PALAN_WAVE", candidate.wave)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        hook.process_group(0);
        let mut group = match hook.spawn() {
            Ok(child) => Group(child),
            Err(error) => return refused(format!("{program} cannot be run: {error}")),
        };
        let (mut out, mut err) = (group.0.stdout.take(), group.0.stderr.take());
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let ended = async {
            // Both at once: a program that fills one pipe while the other is read would wait for ever.
            let reading =
                async { tokio::join!(tail(out.as_mut(), &mut said), tail(err.as_mut(), &mut complained)) };
            let mut reading = pin!(reading);
            tokio::select! {
                biased;
                _ = &mut reading => group.0.wait().await,
                status = group.0.wait() => {
                    // What it left running may hold its pipes open for ever.
                    let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                    status
                }
            }
        };
        let ended = tokio::time::timeout(timeout, ended).await;
        let output = join(&said, &complained);
        match ended {
            Ok(Ok(status)) if status.success() => HookOutput { passed: true, output },
            // Its own words last: they are what is told first.
            Ok(Ok(status)) => refused(join(status.to_string().as_bytes(), output.as_bytes())),
            Ok(Err(error)) => refused(join(error.to_string().as_bytes(), output.as_bytes())),
            Err(_) => refused(format!("it did not end within {} s", timeout.as_secs())),
        }
    }
}

/// A hook. Where there are groups of processes, it has one of its own, with all that it has started: they end when this is
/// dropped and the hook has not ended. Elsewhere the hook alone does.
struct Group(Child);

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        // `None`: it has ended. What it left running is its own affair.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// The end of what comes through a pipe.
async fn tail(pipe: Option<&mut (impl tokio::io::AsyncRead + Unpin)>, kept: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    let Some(pipe) = pipe else { return };
    while let Ok(n @ 1..) = pipe.read(&mut piece).await {
        kept.extend_from_slice(&piece[..n]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
}

fn join(first: &[u8], second: &[u8]) -> String {
    let texts = [first, second].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}
