//! Credentials from files and helpers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use palan_client::{Credentials, Error, Secret, credentials::Keychain};
use tempfile::TempDir;

fn auth(username: &str, password: &str) -> String {
    BASE64_STANDARD.encode(format!("{username}:{password}"))
}

/// The user found for each of some names; `-` for nothing.
fn shown(credentials: Option<&Credentials>) -> String {
    match credentials {
        None => "-".into(),
        Some(Credentials::Basic { username, password }) => format!("{username}:{}", password.expose()),
        Some(Credentials::IdentityToken(token)) => format!("identity {}", token.expose()),
        Some(Credentials::RegistryToken(token)) => format!("registry {}", token.expose()),
        Some(other) => panic!("{other:?}"),
    }
}

async fn look(keychain: &Keychain, name: &str) -> Result<String, Error> {
    let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
    let found = keychain.get(registry, repository).await?;
    Ok(shown(found.as_ref().map(|f| &f.credentials)))
}

async fn look_in_text(text: &str, name: &str) -> Result<String, Error> {
    look(&Keychain::new().text("DOCKER_AUTH_CONFIG", Secret::new(text)), name).await
}

#[tokio::test]
async fn entries_are_found_under_every_name_they_may_have() {
    let one = |key: &str| format!(r#"{{"auths":{{"{key}":{{"username":"u","password":"p"}}}}}}"#);
    for (key, name, found) in [
        ("ghcr.io", "ghcr.io/a/b", true),
        ("ghcr.io", "ghcr.io", true),
        ("ghcr.io", "ghcr.io:443/a", false),
        ("ghcr.io", "xghcr.io/a", false),
        ("localhost:5000", "localhost:5000/a", true),
        ("localhost:5000", "localhost:5001/a", false),
        ("https://ghcr.io", "ghcr.io/a", true),
        ("https://ghcr.io/v2/", "ghcr.io/a", true),
        ("http://ghcr.io/v1/", "ghcr.io/a", true),
        ("ghcr.io/v2/", "ghcr.io/a", true),
        ("https://ghcr.io.evil.example/v2/", "ghcr.io/a", false),
        ("https://index.docker.io/v1/", "index.docker.io/library/ubuntu", true),
        ("docker.io", "index.docker.io/library/ubuntu", true),
        ("index.docker.io", "index.docker.io/library/ubuntu", true),
        ("registry-1.docker.io", "index.docker.io/a/b", true),
        ("docker.io/library", "index.docker.io/library/ubuntu", true),
        ("docker.io/library", "index.docker.io/other/ubuntu", false),
        ("quay.io/org", "quay.io/org/app", true),
        ("quay.io/org", "quay.io/org/deep/app", true),
        ("quay.io/org", "quay.io/org", true),
        ("quay.io/org", "quay.io/organisation/app", false),
        ("quay.io/org", "quay.io", false),
        ("quay.io/org/app", "quay.io/org/app", true),
    ] {
        let expected = if found { "u:p" } else { "-" };
        assert_eq!(look_in_text(&one(key), name).await.unwrap(), expected, "{key} for {name}");
    }
}

#[tokio::test]
async fn the_longest_key_wins() {
    let text = r#"{"auths":{
        "quay.io":{"username":"registry"},
        "quay.io/org/app":{"username":"app"},
        "https://quay.io/v2/":{"username":"url"},
        "quay.io/org":{"username":"org"}}}"#;
    for (name, expected) in [
        ("quay.io/org/app", "app:"),
        ("quay.io/org/app/sub", "app:"),
        ("quay.io/org/other", "org:"),
        ("quay.io/else", "registry:"),
        ("quay.io", "registry:"),
    ] {
        assert_eq!(look_in_text(text, name).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn every_kind_of_entry_is_read() {
    let nul = BASE64_STANDARD.encode("u:p\0\0");
    let unpadded = auth("u", "pw").trim_end_matches('=').to_owned();
    for (entry, expected) in [
        (format!(r#"{{"auth":"{}"}}"#, auth("u", "p:with:colons")), "u:p:with:colons"),
        (format!(r#"{{"auth":"{unpadded}"}}"#), "u:pw"),
        (format!(r#"{{"auth":"{nul}"}}"#), "u:p"),
        (format!(r#"{{"auth":"{}","username":"x","password":"y"}}"#, auth("u", "p")), "u:p"),
        (r#"{"username":"u","password":"p","email":"e"}"#.into(), "u:p"),
        (r#"{"username":"<token>","password":"t"}"#.into(), "identity t"),
        (format!(r#"{{"auth":"{}","identitytoken":"t"}}"#, auth("u", "")), "identity t"),
        (r#"{"registrytoken":"r","identitytoken":"t"}"#.into(), "registry r"),
        (r#"{"auth":"","identitytoken":null}"#.into(), "-"),
        ("{}".into(), "-"),
    ] {
        let text = format!(r#"{{"auths":{{"a.io":{entry}}},"unknown":[1]}}"#);
        assert_eq!(look_in_text(&text, "a.io/x").await.unwrap(), expected, "{entry}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_that_shows_no_secret() {
    for text in [
        "hunter2",
        r#"["hunter2"]"#,
        r#"{"auths":"hunter2"}"#,
        r#"{"auths":{"a.io":"hunter2"}}"#,
        r#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#,
        r#"{"auths":{"a.io":{"auth":"aHVudGVyMg=="}}}"#,
        r#"{"auths":{"a.io":{"identitytoken":["hunter2"]}}}"#,
        r#"{"auths":{"a.io":{"username":"u","password":{"hunter2":1}}}}"#,
        r#"{"credHelpers":{"a.io":1}}"#,
        r#"{"credsStore":{"hunter2":1}}"#,
        r#"{"HttpHeaders":{"x":"hunter2\n"}}"#,
        r#"{"auths":{"a.io":{"auth":"hunter2"#,
    ] {
        let error = look_in_text(text, "a.io/x").await.unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(message.contains("DOCKER_AUTH_CONFIG"), "{text}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

/// docker and crane read these, too.
#[tokio::test]
async fn what_says_nothing_and_what_is_not_wanted_does_no_harm() {
    let wanted = r#""a.io":{"username":"u","password":"p"}"#;
    for text in [
        format!(r#"{{"auths":{{"x":null,{wanted}}}}}"#),
        format!(r#"{{"auths":{{"x":1,"y":{{"auth":"!"}},{wanted}}}}}"#),
        format!(r#"{{"auths":{{{wanted}}},"credHelpers":{{"a.io":null,"x":1}}}}"#),
        format!(r#"{{"auths":{{{wanted}}},"HttpHeaders":{{"X":null}},"credsStore":null}}"#),
        format!("{{\"auths\":{{{wanted}}}}}\n}}"),
    ] {
        assert_eq!(look_in_text(&text, "a.io/x").await.unwrap(), "u:p", "{text}");
        assert_eq!(look_in_text(&text, "other.io").await.unwrap(), "-", "{text}");
    }
    assert_eq!(look_in_text(r#"{"auths":{"a.io":null}}"#, "a.io").await.unwrap(), "-");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, r#"{"auths":{"a.io":null}} }"#).unwrap();
    login(&path, "a.io", "u", "p").await;
    assert_eq!(look(&Keychain::new().file(&path), "a.io").await.unwrap(), "u:p");
}

/// `HOME=/dev/null`: there is no such folder.
#[tokio::test]
async fn a_folder_that_is_a_file_holds_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(look(&Keychain::new().file(file.join("config.json")), "a.io").await.unwrap(), "-");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_at_the_same_time_all_stay() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    let logins = (0..16).map(|i| {
        let path = path.clone();
        tokio::spawn(async move { login(&path, &format!("r{i}.io"), "u", "p").await })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap();
    }
    let keychain = Keychain::new().file(&path);
    for i in 0..16 {
        assert_eq!(look(&keychain, &format!("r{i}.io")).await.unwrap(), "u:p", "{i}");
    }
}

#[tokio::test]
async fn the_first_entry_wins_not_the_first_file() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let keychain = Keychain::new()
        .file(folder.path().join("missing/config.json"))
        .file(file("empty.json", ""))
        .file(file("docker.json", r#"{"auths":{"a.io":{"username":"docker"},"c.io":{}},"HttpHeaders":{"X-A":"1"}}"#))
        .text("ENV", Secret::new(r#"{"auths":{"a.io":{"username":"env"},"b.io":{"username":"env"}}}"#))
        .file(file(
            "podman.json",
            r#"{"auths":{"b.io":{"username":"podman"},"c.io":{"username":"podman"}},"HttpHeaders":{"x-a":"2","X-B":"3"}}"#,
        ));
    for (name, expected) in [("a.io", "docker:"), ("b.io", "env:"), ("c.io", "podman:"), ("d.io", "-")] {
        assert_eq!(look(&keychain, name).await.unwrap(), expected, "{name}");
    }
    let origin = keychain.get("c.io", "x").await.unwrap().unwrap().origin;
    assert!(origin.ends_with("podman.json"), "{origin}");
    let headers = keychain.http_headers().await.unwrap();
    assert_eq!((headers["x-a"].as_bytes(), headers["x-b"].as_bytes()), (b"1".as_slice(), b"3".as_slice()));
    assert!(!format!("{headers:?}").contains("\"1\""), "header values are secrets");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let folder = TempDir::new().unwrap();
    let error = look(&Keychain::new().file(folder.path()), "a.io").await.unwrap_err();
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    let path = folder.path().join("latin1");
    fs::write(&path, b"{\"auths\":{\"\xe4\":{}}}").unwrap();
    let error = look(&Keychain::new().file(&path), "a.io").await.unwrap_err();
    assert!(error.to_string().ends_with("latin1: is not UTF-8 text"), "{error}");
}

async fn login(path: &Path, server: &str, username: &str, secret: &str) -> String {
    Keychain::new().login(path, server, username, &Secret::new(secret)).await.unwrap()
}

#[tokio::test]
async fn logging_in_changes_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/config.json");
    assert_eq!(login(&path, "a.io", "u", "p").await, path.display().to_string());
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\n\t\"auths\": {\n\t\t\"a.io\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t}\n}\n"
    );
    fs::write(
        &path,
        r#"{"zeta":1.50,"auths":{"z.io":{"auth":"eDp5"},"a.io":{"email":"e","auth":"eDp5","identitytoken":"t"}},"alpha":[{"b":1,"a":2}]}"#,
    )
    .unwrap();
    login(&path, "a.io", "u", "p").await;
    login(&path, "index.docker.io", "<token>", "t").await;
    let text = fs::read_to_string(&path).unwrap().replace(['\n', '\t', ' '], "");
    assert_eq!(
        text,
        r#"{"zeta":1.50,"auths":{"z.io":{"auth":"eDp5"},"a.io":{"email":"e","auth":"dTpw"},"https://index.docker.io/v1/":{"identitytoken":"t"}},"alpha":[{"b":1,"a":2}]}"#
    );
    let keychain = Keychain::new().file(&path);
    assert_eq!(look(&keychain, "index.docker.io/library/x").await.unwrap(), "identity t");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

#[tokio::test]
async fn logging_in_does_not_destroy_what_it_cannot_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    for text in ["{", "[]", r#"{"auths":[]}"#, r#"{"auths":{"a.io":1}}"#] {
        fs::write(&path, text).unwrap();
        let outcome = Keychain::new().login(&path, "a.io", "u", &Secret::new("p")).await;
        assert!(matches!(outcome, Err(Error::CredentialFile { .. })), "{text}: {outcome:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn logging_out_forgets_every_spelling() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs::write(
        &path,
        r#"{"auths":{"docker.io":{"auth":"eDp5"},"https://index.docker.io/v1/":{"auth":"eDp5"},"https://a.io/v2/":{"auth":"eDp5"},"a.io/org":{"auth":"eDp5"}},"x":1}"#,
    )
    .unwrap();
    for (server, expected) in
        [("index.docker.io", true), ("index.docker.io", false), ("a.io", true), ("b.io", false)]
    {
        assert_eq!(Keychain::new().logout(&path, server).await.unwrap(), expected, "{server}");
    }
    let left: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(left, serde_json::json!({"auths": {"a.io/org": {"auth": "eDp5"}}, "x": 1}));
    assert!(!Keychain::new().logout(&folder.path().join("missing"), "a.io").await.unwrap());
}

#[cfg(unix)]
mod unix {
    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        process::{Command, Stdio},
    };

    use super::*;

    /// Writes a program with another process: a file that this process has open for writing when one of its other
    /// threads starts a program cannot be run ("text file busy").
    fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
        use std::io::Write;
        let path = folder.join(format!("docker-credential-{name}"));
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$1\" && chmod +x \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        path
    }

    /// A helper that keeps its answers in files beside it and logs what it is asked.
    const KEEPS: &str = r#"
cd "$(dirname "$0")" || exit 9
input=$(cat)
printf '%s %s\n' "$1" "$input" >> log
name=$(printf '%s' "$input" | sed -n 's/.*"ServerURL":"\([^"]*\)".*/\1/p')
file=kept-$(printf '%s' "${name:-$input}" | tr -c 'a-zA-Z0-9.\n' '_')
case $1 in
get) if [ -e "$file" ]; then cat "$file"; else echo credentials not found in native keychain; exit 1; fi ;;
store) printf '%s' "$input" > "$file" ;;
erase) rm -f "$file" ;;
list) echo '{"https://index.docker.io/v1/":"u","a.io":"u"}' ;;
esac"#;

    fn log(folder: &TempDir) -> Vec<String> {
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn keychain(folder: &TempDir, config: &str) -> Keychain {
        Keychain::new().helper_folder(folder.path()).text("CONFIG", Secret::new(config))
    }

    fn keep(folder: &TempDir, key: &str, username: &str) {
        let text = format!(r#"{{"ServerURL":"{key}","Username":"{username}","Secret":"s"}}"#);
        let name: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        fs::write(folder.path().join(format!("kept-{name}")), text).unwrap();
    }

    #[tokio::test]
    async fn helpers_go_before_the_files_own_entries_and_are_asked_once() {
        let folder = TempDir::new().unwrap();
        program(folder.path(), "keeps", KEEPS);
        for (key, username) in
            [("a.io", "a"), ("b.io", "b"), ("b.io/org", "b-org"), ("https://index.docker.io/v1/", "<token>")]
        {
            keep(&folder, key, username);
        }
        let keychain = keychain(
            &folder,
            r#"{"credsStore":"keeps","credHelpers":{"c.io":"keeps","b.io/deep/er":"keeps"},
                "auths":{"a.io":{"username":"file"},"d.io":{"username":"file"},"b.io/org":{}}}"#,
        );
        for (name, expected) in [
            ("a.io/x", "a:s"),
            ("a.io/y", "a:s"),
            ("b.io/x", "b:s"),
            ("b.io/org/x", "b-org:s"),
            ("b.io/deep/er/x", "b:s"),
            ("c.io/x", "-"),
            ("c.io/y", "-"),
            ("d.io/x", "file:"),
            ("index.docker.io/library/x", "identity s"),
        ] {
            assert_eq!(look(&keychain, name).await.unwrap(), expected, "{name}");
        }
        let mut asked = log(&folder);
        asked.sort();
        assert_eq!(
            asked,
            [
                "get a.io",
                "get b.io",
                "get b.io/deep/er",
                "get b.io/org",
                "get c.io",
                "get d.io",
                "get https://index.docker.io/v1/",
            ]
        );
        let origin = keychain.get("a.io", "x").await.unwrap().unwrap().origin;
        assert_eq!(origin, "docker-credential-keeps");
        assert_eq!(keychain.helper_keys("keeps").await.unwrap(), ["https://index.docker.io/v1/", "a.io"]);
    }

    #[tokio::test]
    async fn a_helper_that_fails_is_named() {
        for (script, reason) in [
            ("echo 'the vault is locked'; exit 1", "the vault is locked"),
            ("echo 'no session' >&2; exit 1", "no session"),
            ("echo failed; echo 'no session' >&2; exit 1", "failed: no session"),
            (r#"echo '{"Username":"u","Secret":"hunter2"}'; exit 1"#, "failed without a message"),
            ("exit 3", "failed without a message"),
            ("echo hunter2", "its answer is not what a helper should answer"),
            ("sleep 60", "no answer within 200ms"),
        ] {
            let folder = TempDir::new().unwrap();
            program(folder.path(), "broken", script);
            let keychain = keychain(&folder, r#"{"credsStore":"broken"}"#);
            let keychain = match script {
                "sleep 60" => keychain.helper_timeout(Duration::from_millis(200)),
                _ => keychain,
            };
            let error = look(&keychain, "a.io/x").await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains("docker-credential-broken for a.io") && text.contains(reason), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn not_found_is_no_failure_wherever_it_is_said() {
        for script in ["echo credentials not found in native keychain", "echo credentials not found >&2"] {
            let folder = TempDir::new().unwrap();
            program(folder.path(), "empty", &format!("{script}; exit 1"));
            let keychain =
                keychain(&folder, r#"{"credsStore":"empty","auths":{"b.io":{"username":"next"}}}"#);
            assert_eq!(look(&keychain, "a.io/x").await.unwrap(), "-");
            assert_eq!(look(&keychain, "b.io/x").await.unwrap(), "next:");
        }
    }

    #[tokio::test]
    async fn what_a_helper_is_to_keep_is_not_shown_when_it_fails() {
        let folder = TempDir::new().unwrap();
        program(folder.path(), "loud", "input=$(cat); echo \"cannot keep hunter2\" >&2; exit 1");
        let path = folder.path().join("config.json");
        fs::write(&path, r#"{"credsStore":"loud"}"#).unwrap();
        let keychain = Keychain::new().helper_folder(folder.path());
        let error = keychain.login(&path, "a.io", "u", &Secret::new("hunter2")).await.unwrap_err();
        assert!(error.to_string().contains("cannot keep ***"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"credsStore":"loud"}"#);
    }

    /// A helper that hangs is ended with all it started: here a child that holds its output open.
    #[tokio::test]
    async fn a_helper_that_hangs_is_ended_with_its_children() {
        let folder = TempDir::new().unwrap();
        let script = "sleep 600 & echo $! > \"$(dirname \"$0\")/child\"; wait";
        program(folder.path(), "hangs", script);
        let keychain =
            keychain(&folder, r#"{"credsStore":"hangs"}"#).helper_timeout(Duration::from_millis(500));
        let error = look(&keychain, "a.io/x").await.unwrap_err();
        assert!(error.to_string().contains("no answer within 500ms"), "{error}");
        let child: i32 = fs::read_to_string(folder.path().join("child")).unwrap().trim().parse().unwrap();
        let state = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Ended, and perhaps not yet taken note of by its new parent. Killing is not instantaneous.
        let ended = || state().is_empty() || state().contains(") Z ");
        let mut turns = 0;
        while !ended() && turns < 10_000 {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert!(ended(), "{}", state());
    }

    #[tokio::test]
    async fn a_helper_that_does_not_exist_is_named() {
        let folder = TempDir::new().unwrap();
        for (name, reason) in
            [("palan-test-missing", "the program was not found"), ("../x", "not a helper's name")]
        {
            let keychain = keychain(&folder, &format!(r#"{{"credsStore":"{name}"}}"#));
            let error = look(&keychain, "a.io/x").await.unwrap_err();
            assert!(error.to_string().contains(name) && error.to_string().contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn logging_in_uses_the_helper_that_the_file_names() {
        let folder = TempDir::new().unwrap();
        program(folder.path(), "keeps", KEEPS);
        let path = folder.path().join("config.json");
        fs::write(&path, r#"{"credsStore":"keeps","auths":{"a.io":{"auth":"eDp5"}}}"#).unwrap();
        let keychain = || Keychain::new().helper_folder(folder.path()).file(&path);
        let origin = keychain().login(&path, "a.io", "u", &Secret::new("hunter2")).await.unwrap();
        assert_eq!(origin, "docker-credential-keeps");
        assert!(!fs::read_to_string(&path).unwrap().contains("auth\""), "the old password stays in the file");
        assert_eq!(look(&keychain(), "a.io/x").await.unwrap(), "u:hunter2");
        assert!(keychain().logout(&path, "a.io").await.unwrap());
        assert_eq!(look(&keychain(), "a.io/x").await.unwrap(), "-");
        assert!(!keychain().logout(&path, "a.io").await.unwrap());
        assert_eq!(log(&folder)[0], r#"store {"ServerURL":"a.io","Username":"u","Secret":"hunter2"}"#);
    }

    #[tokio::test]
    async fn a_new_file_is_readable_by_its_owner_only_and_an_old_one_by_whom_it_was() {
        let folder = TempDir::new().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("config.json"));
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        login(&link, "a.io", "u", "p").await;
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::read_to_string(&real).unwrap().contains("a.io"));
        // Where a link leads nowhere yet, the file is made there.
        fs::remove_file(&real).unwrap();
        login(&link, "b.io", "u", "p").await;
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&real).unwrap().contains("b.io"));
    }

    /// A helper in a group of its own is stopped when it asks on the terminal.
    #[tokio::test]
    async fn helpers_that_may_ask_stay_in_our_group() {
        let folder = TempDir::new().unwrap();
        let script = "ps -o pgid= -p $$ > \"$(dirname \"$0\")/group\"; echo '{\"ServerURL\":null,\"Username\":\"u\",\"Secret\":\"s\"}'";
        program(folder.path(), "asks", script);
        let own = Command::new("sh").args(["-c", "ps -o pgid= -p $$"]).output().unwrap();
        let own = String::from_utf8(own.stdout).unwrap();
        for ask in [true, false] {
            let keychain = keychain(&folder, r#"{"credsStore":"asks"}"#).helpers_may_ask(ask);
            assert_eq!(look(&keychain, "a.io/x").await.unwrap(), "u:s");
            let group = fs::read_to_string(folder.path().join("group")).unwrap();
            assert_eq!(group.trim() == own.trim(), ask, "{group} {own}");
        }
    }
}
