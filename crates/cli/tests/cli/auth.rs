//! Credentials: kept, found, checked, forgotten.

use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use palan_testkit::fault::{FaultRegistry, Reply};

use crate::TestContext;

/// A registry that lets ann in with the password hunter2.
fn guarded(context: &TestContext) -> FaultRegistry {
    context.faulty(|request| match request.header("authorization") {
        "Basic YW5uOmh1bnRlcjI=" => Reply::status(200),
        _ => Reply::error(401, "UNAUTHORIZED").header("WWW-Authenticate", "Basic realm=\"test\""),
    })
}

#[test]
fn logging_in_and_out() {
    let context = TestContext::new();
    let registry = guarded(&context);
    let host = registry.host();
    context.name(&host, "GUARDED");
    let login = ["auth", "login", &host, "-u", "ann", "--password-stdin"];
    assert_snapshot!(context.run_input(&login, b"wrong\n"), @"
    exit: 4
    --- stdout

    --- stderr
    error: GET http://[GUARDED]/v2/ answered 401 Unauthorized: UNAUTHORIZED: scripted
    hint: [GUARDED] does not accept them; --skip-check keeps them nevertheless
    ");
    assert!(!context.home(".docker").exists());
    assert_snapshot!(context.run(&["auth", "get", &host]), @"
    exit: 1
    --- stdout
    credentials not found in native keychain

    --- stderr
    ");
    assert_snapshot!(context.run_input(&login, b"hunter2\n"), @"
    exit: 0
    --- stdout

    --- stderr
    logged in via home/.docker/config.json
    ");
    assert_snapshot!(context.run(&["auth", "get", &host]), @r#"
    exit: 0
    --- stdout
    {"Username":"ann","Secret":"hunter2"}

    --- stderr
    "#);
    assert_snapshot!(context.run_input(&["auth", "get"], format!("https://{host}\n").as_bytes()), @r#"
    exit: 0
    --- stdout
    {"Username":"ann","Secret":"hunter2"}

    --- stderr
    "#);
    assert_snapshot!(context.run(&["auth", "logout", &host]), @"
    exit: 0
    --- stdout

    --- stderr
    logged out via home/.docker/config.json
    ");
    assert_snapshot!(context.run(&["auth", "logout", &host]), @"
    exit: 0
    --- stdout

    --- stderr
    there were no credentials for [GUARDED] in home/.docker/config.json
    ");
    assert_snapshot!(context.run(&["auth", "login", &host, "-u", "ann", "-p", "x", "--skip-check"]), @"
    exit: 0
    --- stdout

    --- stderr
    logged in via home/.docker/config.json
    ");
}

#[test]
fn logging_in_needs_both() {
    let context = TestContext::new();
    assert_snapshot!(context.run(&["auth", "login", "example.com", "-u", "ann"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: a user name and a password are required
    hint: palan auth login REGISTRY --username USER --password-stdin < FILE
    ");
    assert_snapshot!(context.run(&["auth", "login", "example.com/Org", "-u", "a", "-p", "b"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid reference "example.com/Org": repository (at position 12): 'O' is upper case, repository names are lower case
    "#);
    assert_snapshot!(context.run(&["auth"]), @"
    exit: 2
    --- stdout

    --- stderr
    Log in to registries and out of them

    Usage: palan auth [OPTIONS] <COMMAND>

    Commands:
      get     Print the credentials for a registry, as a docker credential helper does
      login   Log in to a registry, and keep the credentials where docker and podman find them
      logout  Forget the credentials for a registry
      token   Print a token for a repository, as its registry's token service gives it
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help  Print help (see more with '--help')

    Global options:
      -v, --verbose
              Say on stderr what is asked of registries and what they answer; never secrets
          --insecure
              Speak http, and do not check TLS certificates
          --allow-nondistributable-artifacts
              Also push layers that are marked as not distributable
          --platform <PLATFORM>
              Choose images by platform: os/arch[/variant][:osversion], or all
      -j, --jobs <N>
              Transfers at the same time [default: 4]
          --timeout <TIME>
              Give up when a registry sends nothing for so long: 30s, 5m [default: 60s]
          --retries <N>
              How often to try again what fails for the moment [default: 3]
          --chunk-size <SIZE>
              Upload blobs in pieces no larger than this: 10M, 512K
    ");
}

#[test]
fn docker_hub_has_its_own_key() {
    let context = TestContext::new();
    context.run(&["auth", "login", "docker.io", "-u", "ann", "-p", "x", "--skip-check"]).ok();
    let kept = std::fs::read_to_string(context.home(".docker/config.json")).unwrap();
    assert!(kept.contains("https://index.docker.io/v1/"), "{kept}");
    assert_eq!(
        context.run(&["auth", "get", "index.docker.io"]).ok().text(),
        r#"{"Username":"ann","Secret":"x"}"#
    );
}

#[test]
fn credentials_in_the_environment_count_without_any_file() {
    let context = TestContext::new();
    let registry = guarded(&context);
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "YW5uOmh1bnRlcjI="}}}}}}"#, registry.host());
    let ran =
        context.run_with(&["auth", "get", &registry.host()], &[("DOCKER_AUTH_CONFIG", config.as_ref())]);
    assert_eq!(ran.ok().text(), r#"{"Username":"ann","Secret":"hunter2"}"#);
}

#[test]
fn a_denied_request_says_how_to_log_in() {
    let context = TestContext::new();
    let registry = guarded(&context);
    context.name(registry.host(), "GUARDED");
    assert_snapshot!(context.run(&["digest", &format!("{}/app:1", registry.host())]), @"
    exit: 4
    --- stdout

    --- stderr
    error: HEAD http://[GUARDED]/v2/app/manifests/1 answered 401 Unauthorized (no credentials were found)
    hint: palan auth login [GUARDED]
    ");
}

#[test]
fn configured_headers_are_sent_to_the_registry() {
    let context = TestContext::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let registry = {
        let seen = Arc::clone(&seen);
        context.faulty(move |request| {
            seen.lock().unwrap().push(request.header("x-tenant").to_owned());
            Reply::error(404, "MANIFEST_UNKNOWN")
        })
    };
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), r#"{"HttpHeaders": {"X-Tenant": "blue"}}"#).unwrap();
    context.run(&["digest", &format!("{}/app:1", registry.host())]);
    assert!(seen.lock().unwrap().contains(&"blue".to_owned()));
    seen.lock().unwrap().clear();
    context.run_input(&["auth", "login", &registry.host(), "-u", "ann", "--password-stdin"], b"hunter2\n");
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|value| value == "blue"), "{seen:?}");
}

#[test]
fn a_github_token_is_for_githubs_registry_and_comes_last() {
    let context = TestContext::new();
    let get = |registry: &str, env: &[(&str, &str)]| {
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        context.run_with(&["auth", "get", registry], &env)
    };
    let token = ("GITHUB_TOKEN", "t0p");
    assert_eq!(get("ghcr.io", &[token]).ok().text(), r#"{"Username":"x-access-token","Secret":"t0p"}"#);
    assert_eq!(
        get("ghcr.io/org/app", &[token, ("GITHUB_ACTOR", "ann")]).ok().text(),
        r#"{"Username":"ann","Secret":"t0p"}"#
    );
    assert_eq!(get("quay.io", &[token]).code, Some(1));
    let config = r#"{"auths": {"ghcr.io": {"auth": "YW5uOmh1bnRlcjI="}}}"#;
    assert_eq!(
        get("ghcr.io", &[token, ("DOCKER_AUTH_CONFIG", config)]).ok().text(),
        r#"{"Username":"ann","Secret":"hunter2"}"#
    );
}

/// #17 of the reference: an empty docker config hid podman's file.
#[test]
fn an_empty_docker_config_does_not_hide_podmans_file() {
    let context = TestContext::new();
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), "{}").unwrap();
    std::fs::create_dir_all(context.home(".config/containers")).unwrap();
    let config = r#"{"auths": {"a.io/team": {"auth": "YW5uOmh1bnRlcjI="}}}"#;
    std::fs::write(context.home(".config/containers/auth.json"), config).unwrap();
    let ran = context.run(&["auth", "get", "a.io/team/app"]);
    assert_eq!(ran.ok().text(), r#"{"Username":"ann","Secret":"hunter2"}"#);
    assert_eq!(context.run(&["auth", "get", "a.io/other"]).code, Some(1));
}

/// A helper that is configured keeps what is logged in with.
#[cfg(unix)]
#[test]
fn logging_in_through_a_helper() {
    let context = TestContext::new();
    let script =
        "#!/bin/sh\ncase $1 in\nstore) cat > \"$HOME/vault\" ;;\nget) cat \"$HOME/vault\" ;;\nesac\n";
    std::fs::create_dir(context.home("bin")).unwrap();
    // Written by another process: a file that is open for writing here while another test starts a program is busy.
    let helper = context.home("bin/docker-credential-vault");
    let write = format!("printf '%s' \"$1\" > {0} && chmod +x {0}", helper.display());
    assert!(std::process::Command::new("sh").args(["-c", &write, "sh", script]).status().unwrap().success());
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), r#"{"credHelpers": {"a.io": "vault"}, "x": 1}"#)
        .unwrap();
    let path = format!("{}:/usr/bin:/bin", context.home("bin").display());
    let login = ["auth", "login", "a.io", "-u", "ann", "-p", "hunter2", "--skip-check"];
    assert_snapshot!(context.run_with(&login, &[("PATH", path.as_ref())]), @"
    exit: 0
    --- stdout

    --- stderr
    logged in via docker-credential-vault
    ");
    let kept = std::fs::read_to_string(context.home(".docker/config.json")).unwrap();
    assert!(!kept.contains("hunter2") && kept.contains("\"x\""), "{kept}");
    let ran = context.run_with(&["auth", "get", "a.io"], &[("PATH", path.as_ref())]);
    assert_eq!(ran.ok().text(), r#"{"Username":"ann","Secret":"hunter2"}"#);
}
