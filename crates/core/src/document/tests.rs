use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::view;

fn manifest(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",{extra}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{d}","size":0}},"layers":[]}}"#,
        d = Digest::sha256(b"")
    )
}

#[test]
fn bytes_and_digest_are_kept() {
    let text = manifest(r#""z":1,"a":{"q":2,"b":null},"#);
    let document = Document::parse(text.clone(), Some(MediaType::OCI_MANIFEST)).unwrap();
    assert_eq!(document.bytes(), text.as_bytes());
    assert_eq!(document.digest(), Digest::sha256(text.as_bytes()));
    assert_eq!(document.kind(), Kind::Manifest);
    assert_eq!(document.view::<view::Manifest>().unwrap().layers.len(), 0);
}

#[test]
fn edits_keep_order_unknown_fields_and_layout() {
    let pretty = "{\n   \"schemaVersion\": 2,\n   \"z\": {\"b\":1},\n   \"a\": true,\n   \"layers\": []\n}\n";
    let pretty = Document::parse(pretty.to_owned(), None).unwrap();
    let edited = pretty.edit(|j| j["a"] = json!(false)).unwrap();
    let expected = "{\n   \"schemaVersion\": 2,\n   \"z\": {\n      \"b\": 1\n   },\n   \"a\": false,\n   \"layers\": []\n}\n";
    assert_eq!(std::str::from_utf8(edited.bytes()).unwrap(), expected);

    let text = manifest(r#""z":1,"a":{"q":2,"b":null},"#);
    let document = Document::parse(text.clone(), None).unwrap();
    let edited = document.edit(|j| j["z"] = json!(2)).unwrap();
    assert_eq!(edited.bytes(), text.replace("\"z\":1", "\"z\":2").as_bytes());
}

#[test]
fn reordering_keys_is_an_edit() {
    let document = Document::parse(manifest(""), None).unwrap();
    let edited = document
        .edit(|j| {
            let version = j.shift_remove("schemaVersion").unwrap();
            j.insert("schemaVersion".into(), version);
        })
        .unwrap();
    assert_ne!(edited.digest(), document.digest());
}

#[test]
fn changing_the_media_type_changes_the_document() {
    let document = Document::parse(manifest(""), None).unwrap();
    let docker = document.edit(|j| j["mediaType"] = json!(MediaType::DOCKER_MANIFEST)).unwrap();
    assert_eq!(*docker.media_type(), MediaType::DOCKER_MANIFEST);
}

#[test]
fn malformed_documents_are_refused_with_the_reason() {
    let big = format!(r#"{{"x":"{}"}}"#, "a".repeat(MAX_DOCUMENT_SIZE as usize));
    let cases = [
        (r#"{"a":1,"a":2}"#, "duplicate key \"a\""),
        (r#"{"a":{"b":[{"c":1,"c":1}]}}"#, "duplicate key \"c\""),
        ("[]", "an array"),
        ("{", "EOF"),
        ("<!DOCTYPE html><html>", "HTML page"),
        (r#"{"manifests":[],"layers":[]}"#, "both \"manifests\" and"),
        (r#"{"mediaType":7}"#, "is not a string"),
        (r#"{"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}"#, "the content is not a"),
        (big.as_str(), "4 MiB"),
    ];
    for (text, reason) in cases {
        let error = Document::parse(text.to_owned(), None).unwrap_err().to_string();
        assert!(error.contains(reason), "{}: {error}", &text[..text.len().min(60)]);
    }
    let error = Document::parse(manifest(""), Some(MediaType::OCI_INDEX)).unwrap_err();
    assert!(matches!(error, DocumentError::MediaTypeMismatch { .. }), "{error}");
}

#[test]
fn numbers_that_would_change_are_not_rewritten() {
    for number in ["123456789012345678901234567890", "1e3", "1.10", "-0"] {
        let document = Document::parse(manifest(&format!("\"x\":{number},")), None).unwrap();
        assert_eq!(document.edit(|_| ()).unwrap().digest(), document.digest());
        let error = document.edit(|j| drop(j.insert("y".into(), json!(1)))).unwrap_err();
        assert!(error.to_string().contains(number), "{error}");
    }
    let fine = Document::parse(manifest("\"x\":0.5,\"s\":\"1e3 \\\" 1e4\","), None).unwrap();
    assert!(fine.edit(|j| drop(j.insert("y".into(), json!(1)))).is_ok());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_edit_and_its_inverse_give_the_same_digest(extra in json_value(), pretty in any::<bool>()) {
        let value = json!({"schemaVersion": 2, "extra": extra, "layers": [], "annotations": {"k": "v"}});
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let document = Document::parse(text, None).unwrap();
        let there = document.edit(|j| j["annotations"]["k"] = json!("w")).unwrap();
        prop_assert_ne!(there.digest(), document.digest());
        let back = there.edit(|j| j["annotations"]["k"] = json!("v")).unwrap();
        prop_assert_eq!(back.object().unwrap(), document.object().unwrap());
        if !pretty { prop_assert_eq!(back.digest(), document.digest()); }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(bytes, None);
    }
}
