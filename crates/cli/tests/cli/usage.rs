//! The command line itself.

use std::process::Stdio;

use insta::assert_snapshot;

use crate::{TestContext, family};

#[test]
fn without_words_there_is_help_and_a_usage_error() {
    let context = TestContext::new();
    let ran = context.run(&[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stdout.is_empty(), "{ran}");
    assert!(ran.stderr.contains("Usage: palan"), "{ran}");
    let ran = context.run(&["--help"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.text().contains("Exit codes:") && ran.text().contains("DOCKER_CONFIG"), "{ran}");
}

#[test]
fn wrong_words_are_usage_errors() {
    let context = TestContext::new();
    assert_snapshot!(context.run(&["manifst", "a"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: unrecognized subcommand 'manifst'

      tip: a similar subcommand exists: 'manifest'

    Usage: palan [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["manifest"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: the following required arguments were not provided:
      <IMAGE>

    Usage: palan manifest <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["manifest", "a", "b"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: unexpected argument 'b' found

    Usage: palan manifest [OPTIONS] <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["manifest", "--bogus", "a"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: unexpected argument '--bogus' found

      tip: to pass '--bogus' as a value, use '-- --bogus'

    Usage: palan manifest [OPTIONS] <IMAGE>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["manifest", "Foo/bar"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'Foo/bar' for '<IMAGE>': invalid reference "Foo/bar": repository (at position 0): 'F' is upper case, repository names are lower case

    For more information, try '--help'.
    "#);
    assert_snapshot!(context.run(&["manifest", "a", "--platform", "linux//arm"]), @r#"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'linux//arm' for '--platform <PLATFORM>': invalid platform "linux//arm": a part is empty (expected os[/arch[/variant]][:osversion], for example linux/arm64)

    For more information, try '--help'.
    "#);
    assert_snapshot!(context.run(&["manifest", "a", "--timeout", "soon"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'soon' for '--timeout <TIME>': a time is expected, like 30s or 5m

    For more information, try '--help'.
    ");
    assert_snapshot!(context.run(&["registry"]), @"
    exit: 2
    --- stdout

    --- stderr
    The embedded registry

    Usage: palan registry [OPTIONS] <COMMAND>

    Commands:
      serve  Serve an OCI registry until Ctrl-C
      help   Print this message or the help of the given subcommand(s)

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
    assert_snapshot!(context.run(&["manifest", "docker-daemon:x"]), @"
    exit: 2
    --- stdout

    --- stderr
    error: invalid value 'docker-daemon:x' for '<IMAGE>': not supported yet: the transport docker-daemon:

    For more information, try '--help'.
    ");
}

#[test]
fn version_is_one_line() {
    assert_snapshot!(TestContext::new().run(&["version"]), @"
    exit: 0
    --- stdout
    [VERSION]

    --- stderr
    ");
}

#[test]
fn completions_name_the_commands() {
    let context = TestContext::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = context.run(&["completion", shell]).ok();
        assert!(ran.text().contains("validate"), "{shell}");
    }
    assert_eq!(context.run(&["completion", "tcsh"]).code, Some(2));
}

#[test]
fn the_reference_is_not_stale() {
    let fresh = TestContext::new().run(&["docs"]).ok();
    let kept = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md")).unwrap();
    assert!(kept == fresh.stdout, "docs/reference/cli.md is stale: run `cargo xtask docs`");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure_worth_words() {
    let context = TestContext::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = context.command(&["docs"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn verbose_tells_requests_and_never_passwords() {
    let context = TestContext::new();
    context.push("app:1", &family("linux/amd64").app.graph());
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "YW5uOmh1bnRlcjI="}}}}}}"#, context.host());
    std::fs::create_dir(context.home(".docker")).unwrap();
    std::fs::write(context.home(".docker/config.json"), config).unwrap();
    let ran = context.run(&["-v", "digest", "@@app:1"]).ok();
    assert!(ran.stderr.contains("/v2/app/manifests/1"), "{ran}");
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("YW5uOmh1bnRlcjI"), "{ran}");
}
