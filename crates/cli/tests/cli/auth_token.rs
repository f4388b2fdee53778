//! Tokens as scripts ask for them.

use insta::assert_snapshot;
use palan_testkit::fault::{FaultRegistry, Reply};

use crate::TestContext;

/// A registry that is its own token service; a token is what it was asked for.
fn bearer(context: &TestContext, field: &'static str) -> FaultRegistry {
    context.faulty(move |request| match request.path() {
        "/token" => {
            let query =
                request.target.split('?').nth(1).unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
            Reply::json(format!(r#"{{"{field}":"{query}","expires_in":60}}"#))
        }
        _ => {
            let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, request.header("host"));
            Reply::status(401).header("www-authenticate", &realm)
        }
    })
}

#[test]
fn a_token_is_printed_as_json_or_as_header() {
    let context = TestContext::new();
    let registry = bearer(&context, "token");
    let repo = format!("{}/team/app", registry.host());
    assert_snapshot!(context.run(&["auth", "token", &repo]), @r#"
    exit: 0
    --- stdout
    {"token":"service=s&scope=repository:team/app:pull","expires_in":60}

    --- stderr
    "#);
    let ran = context.run(&["auth", "token", "-H", &repo]).ok();
    assert_eq!(ran.stdout, b"Authorization: Bearer service=s&scope=repository:team/app:pull");
    let (one, two) = (format!("{}/one", registry.host()), format!("{}/two", registry.host()));
    let ran = context.run(&["auth", "token", "--header", "--push", "-m", &one, "--mount", &two, &repo]).ok();
    assert_eq!(
        ran.text(),
        "Authorization: Bearer service=s&scope=repository:one:pull&scope=repository:team/app:pull%2Cpush\
         &scope=repository:two:pull"
    );
}

/// #16 of the reference: an empty header for servers that answer only `access_token`, and global flags without effect.
#[test]
fn both_forms_of_answers_work_and_global_flags_count() {
    let context = TestContext::new();
    let registry = bearer(&context, "access_token");
    let conf = format!("[[registry]]\nprefix = \"a.test\"\nlocation = \"{}\"\n", registry.host());
    context.write("registries.conf", conf);
    let words = ["auth", "token", "a.test/app", "--registries-conf", "registries.conf"];
    assert_snapshot!(context.run(&words), @r#"
    exit: 0
    --- stdout
    {"token":"service=s&scope=repository:app:pull","access_token":"service=s&scope=repository:app:pull","expires_in":60}

    --- stderr
    "#);
    let ran = context.run(&[&words[..], &["-H"]].concat()).ok();
    assert_eq!(ran.text(), "Authorization: Bearer service=s&scope=repository:app:pull");
}

#[test]
fn registries_without_tokens_say_so() {
    let context = TestContext::new();
    let registry = context.faulty(|_| Reply::status(401).header("www-authenticate", "Basic realm=\"x\""));
    context.name(registry.host(), "BASIC");
    assert_snapshot!(context.run(&["auth", "token", &format!("{}/app", registry.host())]), @"
    exit: 4
    --- stdout

    --- stderr
    error: cannot authenticate to [BASIC]: it asks for a user name and a password (Basic), there are no tokens
    ");
    assert_snapshot!(context.run(&["auth", "token", "@@app"]), @"
    exit: 4
    --- stdout

    --- stderr
    error: cannot authenticate to [HOST]: it asks for no token
    ");
}

/// A registry must not have credentials sent where it has no business.
#[test]
fn a_token_service_at_a_metadata_address_is_refused() {
    let context = TestContext::new();
    let registry = context.faulty(|_| {
        let realm = r#"Bearer realm="http://169.254.169.254/latest/meta-data/""#;
        Reply::status(401).header("www-authenticate", realm)
    });
    context.name(registry.host(), "EVIL");
    assert_snapshot!(context.run(&["auth", "token", &format!("{}/app", registry.host())]), @"
    exit: 4
    --- stdout

    --- stderr
    error: cannot authenticate to [EVIL]: it names the token service http://169.254.169.254/latest/meta-data/: a link-local address
    ");
}
