use proptest::{collection::btree_map, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{Choice, ConfigPolicy, Merged, Note, OnConflict, Reason, merge};

#[allow(clippy::needless_pass_by_value)]
fn document(config: Value) -> Map<String, Value> {
    let value = json!({"architecture": "amd64", "os": "linux", "config": config});
    value.as_object().cloned().unwrap_or_default()
}

fn windows(config: Value) -> Map<String, Value> {
    let mut out = document(config);
    out.insert("os".into(), json!("windows"));
    out
}

fn run(
    old: &Map<String, Value>,
    app: &Map<String, Value>,
    new: &Map<String, Value>,
    on: OnConflict,
) -> (Map<String, Value>, Merged) {
    let mut json = app.clone();
    let merged = merge(&mut json, Some(old), new, ConfigPolicy::Merge, on);
    (json, merged)
}

/// Merges three `config` objects: the result's, and the fields that conflict.
fn configs(old: Value, app: Value, new: Value) -> (Value, Vec<String>) {
    let (json, merged) = run(&document(old), &document(app), &document(new), OnConflict::App);
    (json["config"].clone(), fields(&merged))
}

fn fields(merged: &Merged) -> Vec<String> {
    merged.conflicts.iter().map(|c| c.field.clone()).collect()
}

/// The table of the specification, for a field that is merged as a whole.
#[test]
fn the_table_holds_for_every_whole_field() {
    let values: [(&str, [Value; 3]); 7] = [
        ("User", [json!("a"), json!("b"), json!("c")]),
        ("WorkingDir", [json!("/a"), json!("/b"), json!("/c")]),
        ("StopSignal", [json!("SIGTERM"), json!("SIGINT"), json!("9")]),
        ("Healthcheck", [json!({"Test": ["a"]}), json!({"Test": ["NONE"]}), json!({"Test": ["c"], "x": 1})]),
        ("Shell", [json!(["sh"]), json!(["bash"]), json!(["zsh"])]),
        ("x-unknown", [json!({"deep": [1]}), json!("text"), json!(7)]),
        ("Entrypoint", [json!(["a"]), json!(["b"]), json!(["c"])]),
    ];
    for (field, [x, y, z]) in values {
        let [x, y, z] = [Some(&x), Some(&y), Some(&z)];
        // Old base, image, new base, result, whether it is a conflict.
        let rows = [
            (x, x, x, x, false),
            (x, x, y, y, false),
            (x, x, None, None, false),
            (x, y, x, y, false),
            (x, y, y, y, false),
            (x, y, z, y, true),
            (x, y, None, y, true),
            (x, None, x, None, false),
            (x, None, y, None, true),
            (x, None, None, None, false),
            (None, None, y, y, false),
            (None, None, None, None, false),
            (None, y, None, y, false),
            (None, y, y, y, false),
            (None, y, z, y, true),
        ];
        let config = |value: Option<&Value>| match value {
            Some(value) => json!({"Tty": true, field: value}),
            None => json!({"Tty": true}),
        };
        for (old, app, new, result, conflicts) in rows {
            let (found, conflict) = configs(config(old), config(app), config(new));
            assert_eq!(found, config(result), "{field}: {old:?} {app:?} {new:?}");
            let expected: &[&str] = if conflicts { &[field] } else { &[] };
            assert_eq!(conflict, expected, "{field}: {old:?} {app:?} {new:?}");
        }
    }
}

#[test]
fn the_table_holds_for_every_variable_and_label() {
    let (x, y, z) = (Some("x"), Some("y"), Some(""));
    let rows = [
        (x, x, y, y, false),
        (x, x, None, None, false),
        (x, y, x, y, false),
        (x, y, y, y, false),
        (x, y, z, y, true),
        (x, y, None, y, true),
        (x, None, x, None, false),
        (x, None, y, None, true),
        (None, None, z, z, false),
        (None, z, None, z, false),
        (None, y, x, y, true),
    ];
    for (old, app, new, result, conflicts) in rows {
        let config = |value: Option<&str>| {
            let mut env = vec!["A=1".to_owned()];
            env.extend(value.map(|v| format!("V={v}")));
            let mut labels = json!({"a": "1"});
            if let Some(value) = value {
                labels["org.x"] = json!(value);
            }
            json!({"Env": env, "Labels": labels})
        };
        let (found, conflict) = configs(config(old), config(app), config(new));
        assert_eq!(found, config(result), "{old:?} {app:?} {new:?}");
        let expected: &[&str] = if conflicts { &["Env V", "Labels org.x"] } else { &[] };
        assert_eq!(conflict, expected, "{old:?} {app:?} {new:?}");
    }
}

#[test]
fn members_of_sets_come_and_go() {
    let (found, conflicts) = configs(
        json!({"ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Volumes": {"/data": {}}}),
        json!({"ExposedPorts": {"80": {}, "81/tcp": {}, "9000/tcp": {}}, "Volumes": {"/data": {}}}),
        json!({"ExposedPorts": {"80/tcp": null, "443/tcp": {}}}),
    );
    assert_eq!(found, json!({"ExposedPorts": {"443/tcp": {}, "80": {}, "9000/tcp": {}}}));
    assert_eq!(conflicts, [""; 0]);
}

#[test]
fn labels_of_others_stay_and_an_images_own_description_is_no_conflict() {
    let labels = |base: &str, version: &str, stack: &str| {
        json!({"Labels": {
            "io.buildpacks.stack.id": stack,
            "org.opencontainers.image.base.name": base,
            "org.opencontainers.image.version": version,
        }})
    };
    let (found, conflicts) = configs(labels("a", "12", "x"), labels("a", "1.0", "x"), labels("b", "13", "y"));
    assert_eq!(found, labels("a", "1.0", "x"));
    assert_eq!(conflicts, [""; 0]);
    let (found, _) = configs(labels("a", "12", "x"), labels("a", "12", "x"), labels("b", "13", "y"));
    assert_eq!(found, labels("a", "13", "x"), "inherited");
}

#[test]
fn the_search_path_is_merged_token_by_token() {
    const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let app_first = format!("/app:{DEFAULT}");
    // Old base, image, new base, result, whether it is a conflict.
    type Path<'a> = Option<&'a str>;
    let rows: &[(Path<'_>, Path<'_>, Path<'_>, Path<'_>, bool)] = &[
        (Some("/a:/b"), Some("/a:/b"), Some("/j:/a:/b"), Some("/j:/a:/b"), false),
        (Some("/a:/b"), Some("/app:/a:/b"), Some("/j:/a:/b"), Some("/app:/j:/a:/b"), false),
        (Some("/a:/b"), Some("/a:/b:/app"), Some("/a"), Some("/a:/app"), false),
        (Some("/a:/b"), Some("/x:/a:/b:/y"), Some("/c"), Some("/x:/c:/y"), false),
        (Some("/a:/b"), Some("/app"), Some("/c"), Some("/app"), true),
        (Some("/a:/b"), Some("/app"), Some("/a:/b"), Some("/app"), false),
        // In pieces: what the base dropped goes, what it added comes before what follows it there.
        (Some("/a:/b"), Some("/a:/app:/b"), Some("/a:/c"), Some("/a:/c:/app"), true),
        (Some("/a:/b"), Some("/a:/app:/b"), Some("/j:/a:/b"), Some("/j:/a:/app:/b"), true),
        (Some("/a:/b"), Some("/b:/app"), Some("/c"), Some("/c:/app"), true),
        (Some("/a:/b"), Some("/a:/app"), Some("/a"), Some("/a:/app"), false),
        // Twice: the last is replaced.
        (Some("/a"), Some("/a:/x:/a"), Some("/c"), Some("/a:/x:/c"), true),
        // Builders give an image a path where its base has none.
        (None, Some(DEFAULT), None, Some(DEFAULT), false),
        (None, Some(DEFAULT), Some("/c"), Some("/c"), false),
        (None, Some(&app_first), Some("/c:/d"), Some("/app:/c:/d"), false),
        (Some("/c"), Some("/c"), None, Some(DEFAULT), false),
        (Some("/c"), Some("/app:/c"), None, Some(&app_first), false),
        (None, None, Some("/c"), Some("/c"), false),
        (Some("/c"), None, Some("/c"), None, false),
        // Empty tokens mean the working directory.
        (Some("/a"), Some(":/a:"), Some("/c"), Some(":/c:"), false),
        (Some(""), Some("/app"), Some("/c"), Some("/app"), true),
        (Some("/a"), Some("/app:/a"), Some(""), Some("/app"), false),
    ];
    let config = |path: &Option<&str>| match path {
        Some(path) => json!({"Env": [format!("PATH={path}")]}),
        None => json!({}),
    };
    for (old, app, new, result, conflicts) in rows {
        let (found, conflict) = configs(config(old), config(app), config(new));
        assert_eq!(found, config(result), "{old:?} {app:?} {new:?}");
        let expected: &[&str] = if *conflicts { &["Env PATH"] } else { &[] };
        assert_eq!(conflict, expected, "{old:?} {app:?} {new:?}");
    }
}

#[test]
fn windows_has_its_own_names_and_separators() {
    let env = |path: &str| windows(json!({"Env": [path, "=C:=C:\\"]}));
    let (found, merged) =
        run(&env("Path=C:\\a;C:\\b"), &env("PATH=C:\\app;C:\\a;C:\\b"), &env("path=C:\\c"), OnConflict::App);
    assert_eq!(found["config"]["Env"], json!(["PATH=C:\\app;C:\\c", "=C:=C:\\"]));
    assert_eq!(merged.conflicts, []);
    assert_eq!(merged.changes[0].field, "Env PATH");
    let version = |v: &str| {
        let mut out = windows(json!({}));
        out.insert("os.version".into(), json!(v));
        out
    };
    let (found, merged) = run(&version("1"), &version("2"), &version("3"), OnConflict::Fail);
    assert_eq!((&found["os.version"], merged.conflicts.len()), (&json!("3"), 0));
}

#[test]
fn variables_keep_a_builders_order_and_else_the_images() {
    let env = |vars: &[&str]| json!({"Env": vars});
    type Variables = &'static [&'static str];
    let rows: [(Variables, Variables, Variables, Variables); 5] = [
        // As a builder writes them: what the base adds stands where a rebuild has it.
        (&["P=1", "Q=1"], &["P=1", "Q=1", "A=1"], &["Q=1", "N=1", "P=1"], &["Q=1", "N=1", "P=1", "A=1"]),
        (&["P=1"], &["P=2", "A=1"], &["P=1", "N=1"], &["P=2", "N=1", "A=1"]),
        // As buildah writes them: what an image sets by itself stands behind.
        (&["P=1", "Q=1"], &["Q=1", "P=2", "A=1"], &["P=1", "N=1", "Q=1"], &["N=1", "Q=1", "P=2", "A=1"]),
        // Otherwise what is new comes first.
        (&["P=1"], &["A=1", "P=1"], &["P=2", "N=1"], &["N=1", "A=1", "P=2"]),
        // The last of several counts; an entry without a sign is one.
        (&["P=1"], &["P=0", "P=1", "X"], &["P=2"], &["P=2", "X"]),
    ];
    for (old, app, new, result) in rows {
        let (found, conflicts) = configs(env(old), env(app), env(new));
        assert_eq!((found, conflicts), (env(result), vec![]), "{old:?} {app:?} {new:?}");
    }
}

/// What `docker build`, BuildKit and buildah make of `ENTRYPOINT` and `CMD` on both bases, and what a rebase makes.
#[test]
fn entrypoint_and_command_are_what_a_rebuild_would_make_them() {
    type Pair = (Option<&'static str>, Option<&'static str>);
    let build = |base: Pair, entrypoint: Option<&'static str>, command: Option<&'static str>| -> Pair {
        let inherited = if entrypoint.is_some() { None } else { base.1 };
        (entrypoint.or(base.0), command.or(inherited))
    };
    let none = [json!(null), json!([]), Value::Null];
    let config = |pair: Pair, spelling: usize| {
        let mut out = json!({"Tty": true});
        for (field, value) in [("Entrypoint", pair.0), ("Cmd", pair.1)] {
            match value {
                Some(value) => out[field] = json!([value]),
                None if spelling < 2 => out[field] = none[spelling].clone(),
                None => {}
            }
        }
        out
    };
    let bases: Vec<Pair> = [None, Some("e"), Some("f")]
        .into_iter()
        .flat_map(|e| [None, Some("c"), Some("d")].map(|c| (e, c)))
        .collect();
    for old in &bases {
        for new in &bases {
            for (entrypoint, command) in
                [(None, None), (None, Some("z")), (Some("y"), None), (Some("y"), Some("z"))]
            {
                for spelling in 0..3 {
                    let app = build(*old, entrypoint, command);
                    let rebuilt = build(*new, entrypoint, command);
                    let (found, _) = configs(config(*old, 2), config(app, spelling), config(*new, 0));
                    let value = |field: &str| found[field].get(0).and_then(Value::as_str).map(str::to_owned);
                    let found = (value("Entrypoint"), value("Cmd"));
                    let expected = (rebuilt.0.map(str::to_owned), rebuilt.1.map(str::to_owned));
                    assert_eq!(found, expected, "{old:?} {new:?} {entrypoint:?} {command:?} {spelling}");
                }
            }
        }
    }
}

#[test]
fn an_entrypoint_set_again_or_a_command_emptied_cannot_be_told_apart() {
    let pair = |e: Value, c: Value| json!({"Entrypoint": e, "Cmd": c, "ArgsEscaped": true});
    let old = document(pair(json!(["e"]), json!(["c"])));
    let app = document(json!({"Entrypoint": ["e"]}));
    let new = document(pair(json!(["f"]), json!(["d"])));
    let (found, merged) = run(&old, &app, &new, OnConflict::App);
    assert_eq!(found, app);
    assert_eq!(fields(&merged), ["Entrypoint"]);
    assert_eq!(merged.conflicts[0].reason, Reason::EntrypointRepeated);
    let (found, merged) = run(&old, &app, &new, OnConflict::Base);
    assert_eq!(found["config"]["Entrypoint"], json!(["f"]));
    assert_eq!(merged.conflicts[0].choice, Choice::Base);
}

#[test]
fn the_history_tells_what_values_do_not() {
    let with = |config: Value, steps: &[&str]| {
        let mut out = document(config);
        let steps: Vec<_> = steps.iter().map(|step| json!({"created_by": step})).collect();
        out.insert("history".into(), steps.into());
        out
    };
    let old = with(json!({"Entrypoint": ["e"], "Cmd": ["c"]}), &["ADD x"]);
    let new = with(json!({"Entrypoint": ["f"], "Cmd": ["d"]}), &["ADD y"]);
    let [e, f, z] = [json!(["e"]), json!(["f"]), json!(["z"])];
    let (cleared, same) = (json!({"Entrypoint": e}), json!({"Entrypoint": e, "Cmd": ["c"]}));
    // The image's config and own steps, and the result's entrypoint and command.
    let cases: [(&Value, &[&str], &Value, Value); 6] = [
        (&cleared, &["ENTRYPOINT [\"e\"]"], &e, Value::Null),
        (&cleared, &["/bin/sh -c #(nop)  CMD []"], &f, Value::Null),
        (&same, &["/bin/sh -c #(nop) ENTRYPOINT [\"e\"]", "CMD [\"c\"]"], &e, json!(["c"])),
        (&same, &["CMD[\"c\"]"], &f, json!(["c"])),
        (&same, &["RUN /bin/sh -c CMD", "HEALTHCHECK CMD x"], &f, json!(["d"])),
        (&json!({"Entrypoint": z}), &["ENTRYPOINT z"], &z, Value::Null),
    ];
    for (config, own, entrypoint, command) in cases {
        let app = with(config.clone(), &[&["ADD x"], own].concat());
        let (found, _) = run(&old, &app, &new, OnConflict::App);
        assert_eq!(
            (&found["config"]["Entrypoint"], found["config"].get("Cmd")),
            (entrypoint, Some(&command).filter(|c| !c.is_null())),
            "{own:?}"
        );
    }
    let (bare, app) = (with(json!({}), &["ADD x"]), with(json!({}), &["ADD x", "ENTRYPOINT []"]));
    assert_eq!(run(&bare, &app, &new, OnConflict::App).0, app, "set to what the base has not either");
}

#[test]
fn a_directory_beneath_the_bases_may_have_been_relative() {
    let cases = [
        ("/srv", "/srv/app", Reason::MaybeRelative),
        ("", "/app", Reason::MaybeRelative),
        ("/srv", "/srv2", Reason::BothChanged),
    ];
    for (old, app, reason) in cases {
        let [old, app, new] = [old, app, "/work"].map(|path| document(json!({"WorkingDir": path})));
        assert_eq!(run(&old, &app, &new, OnConflict::App).1.conflicts[0].reason, reason);
    }
}

#[test]
fn a_conflict_goes_as_it_was_told() {
    let [old, app, new] =
        ["a", "b", "c"].map(|user| document(json!({"User": user, "Env": [format!("V={user}")]})));
    for (on, user, choice) in [
        (OnConflict::App, "b", Choice::App),
        (OnConflict::Base, "c", Choice::Base),
        (OnConflict::Fail, "b", Choice::App),
    ] {
        let (found, merged) = run(&old, &app, &new, on);
        assert_eq!(found["config"]["User"], json!(user));
        assert_eq!(found["config"]["Env"], json!([format!("V={user}")]));
        assert_eq!(fields(&merged), ["User", "Env V"]);
        assert!(merged.conflicts.iter().all(|c| c.choice == choice), "{on:?}");
        assert_eq!(merged.changes, []);
    }
    let (_, merged) = run(&old, &app, &new, OnConflict::App);
    let json = json!({
        "field": "User", "old": "a", "app": "b", "new": "c", "result": "b", "choice": "app", "reason": "both-changed",
    });
    assert_eq!(json!(merged.conflicts[0]), json);
    assert_eq!(
        merged.conflicts[0].to_string(),
        r#"User was "a" in the old base, is "c" in the new base and "b" in the image: the image's stays"#
    );
}

#[test]
fn a_commands_base_prevails_with_its_entrypoint() {
    let pair = |e: &str, c: Option<&str>| match c {
        Some(c) => document(json!({"Entrypoint": [e], "Cmd": [c]})),
        None => document(json!({"Entrypoint": [e]})),
    };
    // The image's command, the result's.
    for (app, result) in
        [(None, Some("d")), (Some("c"), Some("d")), (Some("d"), Some("d")), (Some("z"), Some("d"))]
    {
        let (found, _) = run(&pair("e", Some("c")), &pair("y", app), &pair("f", Some("d")), OnConflict::Base);
        assert_eq!(found, pair("f", result), "{app:?}");
    }
    let (found, _) = run(&pair("e", None), &pair("y", Some("z")), &pair("f", None), OnConflict::Base);
    assert_eq!(found, pair("f", Some("z")));
}

#[test]
fn how_a_command_was_written_goes_with_it() {
    let side = |c: &str, escaped: bool| json!({"Cmd": [c], "ArgsEscaped": escaped});
    let (found, _) = configs(side("a", true), side("a", true), side("b", false));
    assert_eq!(found, side("b", false));
    let (found, _) = configs(side("a", false), side("own", true), side("a", false));
    assert_eq!(found, side("own", true));
}

#[test]
fn without_the_old_bases_config_nothing_is_told_apart() {
    let app = document(json!({"User": "a"}));
    let new = document(json!({"User": "b", "Env": ["X=1"]}));
    let mut json = app.clone();
    let merged = merge(&mut json, None, &new, ConfigPolicy::Merge, OnConflict::Fail);
    assert_eq!((&json, &merged.notes[..]), (&app, &[Note::OldConfigUnknown][..]));
    assert_eq!((merged.changes.len(), merged.conflicts.len()), (0, 0));
    let merged = merge(&mut json, Some(&document(json!({}))), &new, ConfigPolicy::Keep, OnConflict::Fail);
    // What is kept although a rebuild would change it is said.
    let notes = vec![Note::Kept { fields: vec!["Env X".to_owned()] }];
    assert_eq!((json, merged), (app, Merged { notes, ..Merged::default() }));
}

#[test]
fn builders_run_triggers_and_do_not_hand_them_on() {
    let on = |triggers: &[&str]| document(json!({"Tty": true, "OnBuild": triggers}));
    let app = document(json!({"Tty": true}));
    let (found, merged) = run(&on(&["RUN a"]), &app, &on(&["RUN b"]), OnConflict::Fail);
    assert_eq!((found, merged.conflicts.len(), merged.notes), (app.clone(), 0, vec![Note::OnBuild]));
    let (found, merged) = run(&on(&["RUN a"]), &app, &on(&["RUN a"]), OnConflict::Fail);
    assert_eq!((found, merged), (app, Merged::default()));
    let (found, _) = run(&on(&["RUN a"]), &on(&["RUN a"]), &on(&["RUN b"]), OnConflict::Fail);
    assert_eq!(found, on(&["RUN b"]));
}

#[test]
fn images_of_buildpacks_keep_what_their_launcher_sets_up() {
    let label = "io.buildpacks.lifecycle.metadata";
    let app = document(json!({"User": "a", "Env": ["A=1"], "StopSignal": "1", "Labels": {label: "{}"}}));
    let old = document(json!({"User": "a", "Env": ["A=1"], "StopSignal": "1"}));
    let new = document(json!({"User": "b", "Env": ["A=2"], "StopSignal": "2"}));
    let (found, merged) = run(&old, &app, &new, OnConflict::App);
    assert_eq!((&found["config"]["User"], &found["config"]["Env"]), (&json!("a"), &json!(["A=1"])));
    assert_eq!(found["config"]["StopSignal"], json!("2"));
    assert_eq!(merged.notes, [Note::Buildpacks]);
}

#[test]
fn values_of_the_old_base_that_a_builder_copied_are_found() {
    let base =
        |home: &str| document(json!({"Env": ["PATH=/usr/bin", format!("JAVA_HOME={home}"), "LANG=C"]}));
    let app = document(json!({
        "Env": ["PATH=/opt/jre17/bin:/usr/bin", "JAVA_HOME=/opt/jre17", "LANG=C", "CP=.:/opt/jre17/lib", "N=/opt/jre170"],
        "Labels": {"java": "/opt/jre17", "other": "x/opt/jre17x"},
        "WorkingDir": "/opt/jre17/work",
    }));
    let (found, merged) = run(&base("/opt/jre17"), &app, &base("/opt/jre21"), OnConflict::App);
    assert_eq!(found["config"]["Env"][1], json!("JAVA_HOME=/opt/jre21"));
    let fields: Vec<_> = merged
        .notes
        .iter()
        .map(|note| match note {
            Note::Baked { field, variable, .. } => (field.as_str(), variable.as_str()),
            _ => ("", ""),
        })
        .collect();
    let home = "Env JAVA_HOME";
    let expected = [("Env PATH", home), ("Env CP", home), ("Labels java", home), ("WorkingDir", home)];
    assert_eq!(fields, expected);
    let sentence = r#"Env CP of the image contains "/opt/jre17", the old base's Env JAVA_HOME, which is "/opt/jre21" in the new base: a rebuild may give another value"#;
    assert_eq!(merged.notes[1].to_string(), sentence);
}

#[test]
fn spelling_and_order_stay_where_nothing_changes() {
    let app = json!({
        "Labels": null, "Env": [], "Cmd": null, "WorkingDir": "/", "Image": "sha256:1", "Hostname": "h", "User": "",
        "Volumes": null, "Tty": false, "OnBuild": [],
    });
    let old = json!({"WorkingDir": "", "Image": "sha256:0", "Hostname": "g"});
    let new = json!({"WorkingDir": "", "Image": "sha256:2", "Hostname": "i", "Entrypoint": []});
    let (found, conflicts) = configs(old, app.clone(), new);
    assert_eq!(serde_json::to_string(&found).ok(), serde_json::to_string(&app).ok());
    assert_eq!(conflicts, [""; 0]);
}

#[test]
fn odd_shapes_are_merged_as_wholes() {
    let (found, conflicts) = configs(
        json!({"Env": "A=1", "Labels": ["x"], "Volumes": 1}),
        json!({"Env": "A=1", "Labels": ["x"], "Volumes": 2}),
        json!({"Env": [1, 2], "Labels": {"y": "1"}, "Volumes": {"/a": {}}}),
    );
    assert_eq!(found, json!({"Env": [1, 2], "Labels": {"y": "1"}, "Volumes": 2}));
    assert_eq!(conflicts, ["Volumes"]);
    let mut none = json!({"os": 1, "config": "text"}).as_object().cloned().unwrap_or_default();
    let before = none.clone();
    merge(
        &mut none,
        Some(&document(json!({}))),
        &document(json!({"User": "a"})),
        ConfigPolicy::Merge,
        OnConflict::App,
    );
    assert_eq!(none, before, "a config that is no object cannot be edited");
}

#[test]
fn long_and_odd_values_are_shown_short_and_escaped() {
    let [old, app, new] = ["\u{1b}[2J".to_owned(), "x".repeat(5000), "é".repeat(500)]
        .map(|user| document(json!({"User": user})));
    let (_, merged) = run(&old, &app, &new, OnConflict::App);
    let text = merged.conflicts[0].to_string();
    assert!(text.contains("\\u001b[2J") && text.chars().count() < 400, "{text}");
}

/// Values by which a side differs: few, so that sides agree often.
fn side(values: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let value = move || select(values);
    let variables = btree_map(select(vec!["A", "B", "C", "V"]), value(), 0..4);
    let path = option::of(prop_oneof![
        Just("/usr/bin:/bin".to_owned()),
        value().prop_map(|v| format!("/{v}/bin:/usr/bin")),
        value().prop_map(|v| format!("/{v}"))
    ]);
    let labels = btree_map(select(vec!["a", "b", "c"]), value(), 0..4);
    let ports = btree_map(value(), Just(json!({})), 0..3);
    let scalars = btree_map(select(vec!["User", "WorkingDir", "StopSignal", "x-unknown"]), value(), 0..4);
    let arrays = btree_map(select(vec!["Entrypoint", "Cmd", "Shell"]), value(), 0..3);
    (variables, path, labels, ports, scalars, arrays).prop_map(
        |(env, path, labels, ports, scalars, arrays)| {
            let path = path.map(|path| format!("PATH={path}"));
            let env: Vec<String> =
                path.into_iter().chain(env.iter().map(|(k, v)| format!("{k}={v}"))).collect();
            let mut config = json!({"Env": env, "Labels": labels, "ExposedPorts": ports});
            for (field, value) in scalars {
                config[field] = json!(value);
            }
            for (field, value) in arrays {
                config[field] = json!([value]);
            }
            document(config)
        },
    )
}

const BASE: &[&str] = &["x1", "y2", "z3"];

/// What a builder makes of a base and of what an application adds: its own values, which no base has. A `PATH` of the
/// application extends the base's.
fn build(base: &Map<String, Value>, own: &Map<String, Value>) -> Map<String, Value> {
    let mut out = base.clone();
    let (Some(config), Some(own)) = (out["config"].as_object_mut(), own["config"].as_object()) else {
        return out;
    };
    if own.contains_key("Entrypoint") {
        config.remove("Cmd");
    }
    for (field, value) in own {
        match (config.get_mut(field), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (Some(Value::Array(old)), Value::Array(new)) if field == "Env" => build_env(old, new),
            _ => drop(config.insert(field.clone(), value.clone())),
        }
    }
    out
}

fn build_env(env: &mut Vec<Value>, own: &[Value]) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let name = |v: &Value| text(v).split('=').next().unwrap_or_default().to_owned();
    if !env.iter().any(|v| name(v) == "PATH") {
        env.push(json!("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    }
    for entry in own {
        match env.iter_mut().find(|old| name(old) == name(entry)) {
            Some(old) if name(old) == "PATH" => {
                *old = json!(format!("PATH=/own/bin:{}:/own/sbin", text(old).trim_start_matches("PATH=")));
            }
            Some(old) => *old = entry.clone(),
            None => env.push(entry.clone()),
        }
    }
}

/// A config without what only spelling and the order of variables tell apart.
fn normal(document: &Map<String, Value>) -> Value {
    let mut out = document["config"].clone();
    if let Some(env) = out["Env"].as_array_mut() {
        env.sort_by_key(Value::to_string);
    }
    if out["Env"].is_null() {
        out["Env"] = json!([]);
    }
    if let Some(config) = out.as_object_mut() {
        config.retain(|_, value| *value != json!([]) && *value != json!({}));
    }
    out
}

proptest! {
    #[test]
    fn the_same_base_changes_nothing(base in side(BASE), app in side(&["x1", "own4"]), fail in any::<bool>()) {
        let on = if fail { OnConflict::Fail } else { OnConflict::Base };
        let (found, merged) = run(&base, &app, &base, on);
        prop_assert_eq!(serde_json::to_string(&found).ok(), serde_json::to_string(&app).ok());
        prop_assert_eq!(merged, Merged::default());
    }

    #[test]
    fn an_image_that_adds_nothing_becomes_its_base(old in side(BASE), new in side(BASE)) {
        let nothing = document(json!({"Env": []}));
        let (app, rebuilt) = (build(&old, &nothing), build(&new, &nothing));
        let (found, merged) = run(&old, &app, &new, OnConflict::Fail);
        prop_assert_eq!(normal(&found), normal(&rebuilt));
        prop_assert_eq!(merged.conflicts, vec![]);
    }

    #[test]
    fn what_was_merged_is_merged(old in side(BASE), app in side(&["x1", "own4"]), new in side(BASE)) {
        for on in [OnConflict::App, OnConflict::Base] {
            let (once, _) = run(&old, &app, &new, on);
            let (twice, merged) = run(&new, &once, &new, on);
            prop_assert_eq!(&once, &twice);
            prop_assert_eq!(merged.changes, vec![]);
        }
    }

    #[test]
    fn a_rebase_is_a_rebuild(old in side(BASE), own in side(&["own4", "own5"]), new in side(BASE)) {
        let (found, _) = run(&old, &build(&old, &own), &new, OnConflict::App);
        let rebuilt = build(&new, &own);
        prop_assert_eq!(normal(&found), normal(&rebuilt));
    }

    #[test]
    fn forth_and_back_is_where_one_was(old in side(BASE), own in side(&["own4", "own5"]), new in side(BASE)) {
        let app = build(&old, &own);
        let (there, forth) = run(&old, &app, &new, OnConflict::App);
        let (back, again) = run(&new, &there, &old, OnConflict::App);
        let equal = normal(&app) == normal(&back);
        prop_assert!(equal || !forth.conflicts.is_empty() || !again.conflicts.is_empty(), "{:?}\n{:?}\n{:?}", app, there, back);
    }

    #[test]
    fn taking_the_bases_side_takes_it_for_every_conflict(old in side(BASE), app in side(&["x1", "own4"]), new in side(BASE)) {
        let (mine, app_side) = run(&old, &app, &new, OnConflict::App);
        let (failed, fail_side) = run(&old, &app, &new, OnConflict::Fail);
        let (_, base_side) = run(&old, &app, &new, OnConflict::Base);
        prop_assert_eq!(fields(&app_side), fields(&fail_side));
        prop_assert!(fields(&app_side).iter().all(|f| fields(&base_side).contains(f)));
        prop_assert!(base_side.conflicts.iter().all(|c| c.result == c.new && c.choice == Choice::Base));
        if app_side.conflicts.iter().all(|c| c.reason != Reason::PathInPieces) {
            prop_assert_eq!(mine, failed);
        }
    }
}
