//! Credential helpers: programs that keep secrets. Protocol: docker/docker-credential-helpers.

use std::{
    io,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::Credentials;
use crate::{Error, Secret};

/// More than this no helper has to say.
const LONGEST_OUTPUT: u64 = 1024 * 1024;
const SHOWN_MESSAGE: usize = 200;

/// What a helper has for a key; `None`: nothing.
pub(super) type Reply = Option<Credentials>;

/// How helpers are found and run.
pub(super) struct Helpers {
    pub(super) folders: Vec<PathBuf>,
    pub(super) timeout: Duration,
    /// Whether they may ask on the terminal.
    pub(super) may_ask: bool,
}

impl Default for Helpers {
    fn default() -> Self {
        Self { folders: Vec::new(), timeout: Duration::from_secs(60), may_ask: false }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Exchange<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// The same as helpers write it: `null` is nothing, and whose it is was asked.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    secret: Option<String>,
}

/// A helper's program, as messages name it.
pub(super) fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

impl Helpers {
    /// Asks for credentials.
    pub(super) async fn get(&self, helper: &str, key: &str) -> Result<Reply, Error> {
        let Some(output) = self.run(helper, "get", key, key.as_bytes()).await? else { return Ok(None) };
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| error(helper, key, "its answer is not what a helper should answer".into()))?;
        let (username, secret) = (answer.username.unwrap_or_default(), answer.secret.unwrap_or_default());
        if username.is_empty() && secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credentials::of_user(username, secret)))
    }

    /// Has credentials kept.
    pub(super) async fn store(
        &self,
        helper: &str,
        key: &str,
        username: &str,
        secret: &Secret,
    ) -> Result<(), Error> {
        let exchange = Exchange { server_url: key, username, secret: secret.expose() };
        let input = serde_json::to_vec(&exchange).map_err(|e| error(helper, key, e.to_string()))?;
        self.run(helper, "store", key, &input).await.map(drop)
    }

    /// Has credentials forgotten. Returns whether there were any.
    pub(super) async fn erase(&self, helper: &str, key: &str) -> Result<bool, Error> {
        if self.get(helper, key).await?.is_none() {
            return Ok(false);
        }
        Ok(self.run(helper, "erase", key, key.as_bytes()).await?.is_some())
    }

    /// The keys for which credentials are kept.
    pub(super) async fn list(&self, helper: &str) -> Result<Vec<String>, Error> {
        let Some(output) = self.run(helper, "list", "all", b"").await? else { return Ok(Vec::new()) };
        let users: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&output)
            .map_err(|_| error(helper, "all", "its answer is not what a helper should answer".into()))?;
        Ok(users.into_iter().map(|(key, _)| key).collect())
    }

    /// Runs a helper; `None`: it does not know the key.
    async fn run(&self, helper: &str, verb: &str, key: &str, input: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        tracing::debug!(helper, verb, key, "running a credential helper");
        let child = self.spawn(helper, verb).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => error(helper, key, "the program was not found".into()),
            _ => error(helper, key, format!("cannot be run: {e}")),
        })?;
        let output = tokio::time::timeout(self.timeout, talk(child, input)).await;
        let output = output
            .map_err(|_| error(helper, key, format!("no answer within {:?}", self.timeout)))?
            .map_err(|e| error(helper, key, e.to_string()))?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let message = message(&output, input);
        if message.contains("credentials not found") {
            return Ok(None);
        }
        Err(error(helper, key, format!("{} ({})", message, output.status)))
    }

    fn spawn(&self, helper: &str, verb: &str) -> io::Result<Group> {
        if helper.is_empty() || helper.contains(['/', '\\']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a helper's name"));
        }
        let name = program(helper);
        let found = self.folders.iter().map(|folder| folder.join(&name)).find(|path| path.exists());
        let mut command = Command::new(found.unwrap_or_else(|| name.into()));
        command
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own, so that what it starts can be ended with it. In one it is stopped as soon as it reads from
        // the terminal.
        #[cfg(unix)]
        if !self.may_ask {
            command.process_group(0);
        }
        Ok(Group { child: command.spawn()?, own: !self.may_ask })
    }
}

/// A helper, in a group of its own with everything it has started: all of it ends when this is dropped.
struct Group {
    child: Child,
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no groups"))]
    own: bool,
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        // `None`: it has ended and was waited for. What it left running is its own affair.
        let id =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

async fn talk(mut group: Group, input: &[u8]) -> io::Result<Output> {
    let child = &mut group.child;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A helper may answer without reading.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout), read(stderr));
    let (stdout, stderr, status) = (stdout?, stderr?, child.wait().await?);
    Ok(Output { status, stdout, stderr })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LONGEST_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a helper that fails says: by the protocol on its standard output, in fact on either. Never what could be an
/// answer, and never what it was given to keep.
fn message(output: &Output, given: &[u8]) -> String {
    let lines = [first_line(&output.stdout), first_line(&output.stderr)];
    let mut said: Vec<String> = lines.into_iter().flatten().filter(|line| !is_answer(line)).collect();
    said.dedup();
    if said.is_empty() {
        return "failed without a message".into();
    }
    let text = said.join(": ");
    match serde_json::from_slice::<Answer>(given).ok().and_then(|given| given.secret) {
        Some(secret) if !secret.is_empty() => text.replace(&*secret, "***"),
        _ => text,
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|l| !l.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(SHOWN_MESSAGE).collect())
}

fn is_answer(line: &str) -> bool {
    line.contains("\"Secret\"") || line.starts_with(['{', '['])
}

fn error(helper: &str, key: &str, reason: String) -> Error {
    Error::Helper { helper: helper.to_owned(), key: key.to_owned(), reason }
}
