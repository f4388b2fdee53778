use proptest::prelude::*;

use super::*;

/// A name, three histories (old base, image, new base), and what is made of them.
type Case<'a> = (&'a str, &'a [Value], &'a [Value], &'a [Value], Layers, &'a [&'a str]);
type Noted<'a> = (&'a str, &'a [Value], &'a [Value], &'a [Value], bool);

fn layer(name: &str) -> Value {
    json!({"created_by": name})
}

fn empty(name: &str) -> Value {
    json!({"created_by": name, "empty_layer": true})
}

fn names(merged: &Merged) -> Vec<&str> {
    let name = |e: &'_ Value| -> &str {
        // Leaked in a test only, to compare with literals.
        e.get("created_by").and_then(Value::as_str).map_or("-", |s| Box::leak(s.to_owned().into_boxed_str()))
    };
    merged.entries.iter().flatten().map(name).collect()
}

#[test]
fn every_shape_of_history_is_carried_as_well_as_it_can_be() {
    let l = |old, image, new| Layers { old, image, new };
    let (b1, b2, n1, n2) = (layer("b1"), layer("b2"), layer("n1"), layer("n2"));
    let (env, a1, a2) = (empty("ENV"), layer("a1"), layer("a2"));
    let base = [b1.clone(), b2.clone()];
    let new = [n1.clone(), empty("CMD"), n2.clone()];
    let null = json!({"created": null, "created_by": "a1", "x-mine": 1});
    let cases: [Case<'_>; 17] = [
        (
            "full",
            &base,
            &[b1.clone(), b2.clone(), env.clone(), a1.clone(), a2.clone()],
            &new,
            l(2, 4, 2),
            &["n1", "CMD", "n2", "ENV", "a1", "a2"],
        ),
        ("none on either side", &[], &[], &[], l(2, 4, 2), &[]),
        ("none, new base has one", &[], &[], &new, l(2, 4, 2), &["n1", "CMD", "n2", "-", "-"]),
        (
            "own entries only",
            &[],
            &[env.clone(), a1.clone()],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "ENV", "a1"],
        ),
        (
            "padded at the end",
            &[],
            &[a1.clone(), layer("p1"), layer("p2")],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "p2"],
        ),
        (
            "base's is longer than the image's copy",
            &[b1.clone(), b2.clone(), empty("X")],
            &[b1.clone(), b2.clone(), env.clone(), a1.clone()],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "ENV", "a1"],
        ),
        (
            "more entries than layers",
            &base,
            &[b1.clone(), b2.clone(), a1.clone(), a2.clone()],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "a1"],
        ),
        (
            "only the new base has none",
            &base,
            &[b1.clone(), b2.clone(), a1.clone()],
            &[],
            l(2, 3, 1),
            &["-", "a1"],
        ),
        (
            "new base claims too many",
            &base,
            &[b1.clone(), b2.clone(), a1.clone()],
            &new,
            l(2, 3, 1),
            &["n1", "CMD", "a1"],
        ),
        (
            "base's is longer, and the image's copy has its first step without a layer",
            &[b1.clone(), b2.clone(), empty("CMD"), empty("X")],
            &[b1.clone(), b2.clone(), empty("CMD"), env.clone(), a1.clone()],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "ENV", "a1"],
        ),
        (
            "padded at the end, with a step without a layer",
            &[],
            &[a1.clone(), env.clone(), layer("p1"), layer("p2")],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "ENV", "p2"],
        ),
        (
            "the base was built at another time",
            &[
                json!({"created": "x", "created_by": "b1"}),
                json!({"created": "x", "created_by": "CMD", "empty_layer": true}),
            ],
            &[json!({"created": null, "created_by": "b1"}), empty("CMD"), env.clone(), a1.clone()],
            &new,
            l(1, 2, 2),
            &["n1", "CMD", "n2", "ENV", "a1"],
        ),
        ("the image has none, its base has one", &base, &[], &new, l(2, 3, 2), &["n1", "CMD", "n2", "-"]),
        (
            "incomplete and of another base",
            &base,
            &[layer("z"), env.clone()],
            &new,
            l(2, 4, 2),
            &["n1", "CMD", "n2", "-", "-"],
        ),
        (
            "incomplete on a base that tells too little",
            std::slice::from_ref(&b1),
            &[b1.clone(), env.clone(), a1.clone()],
            &new,
            l(2, 4, 2),
            &["n1", "CMD", "n2", "ENV", "a1", "-"],
        ),
        (
            "the base tells too little, the image all",
            std::slice::from_ref(&b1),
            &[b1.clone(), layer("p"), env.clone(), a1.clone()],
            &new,
            l(2, 3, 2),
            &["n1", "CMD", "n2", "ENV", "a1"],
        ),
        (
            "image adds no layer",
            &base,
            &[b1.clone(), b2.clone(), env.clone()],
            &new,
            l(2, 2, 2),
            &["n1", "CMD", "n2", "ENV"],
        ),
    ];
    for (case, old, image, new, layers, expected) in cases {
        assert_eq!(names(&merge(old, image, new, layers)), expected, "{case}");
    }
    let kept = merge(&base, &[b1, b2, null.clone()], &new, l(2, 3, 2));
    assert_eq!(kept.entries.unwrap().last(), Some(&null));
}

fn history() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(prop_oneof![Just(layer("x")), Just(layer("y")), Just(empty("e"))], 0..6)
}

#[test]
fn what_could_not_be_carried_is_said_and_nothing_else() {
    let base = [layer("b1")];
    let cases: [Noted<'_>; 6] = [
        ("whole", &base, &[layer("b1"), layer("a1")], &base, false),
        ("none", &base, &[], &[], false),
        ("image has none", &base, &[], &base, false),
        ("too little", &[], &[empty("ENV")], &base, true),
        ("too much", &base, &[layer("b1"), layer("a1"), layer("a2")], &base, true),
        ("new base says too much", &base, &[layer("b1"), layer("a1")], &[layer("x"), layer("y")], true),
    ];
    for (case, old, image, new, said) in cases {
        let merged = merge(old, image, new, Layers { old: 1, image: 2, new: 1 });
        assert_eq!(merged.note.is_some(), said, "{case}: {merged:?}");
    }
}

proptest! {
    #[test]
    fn none_or_one_non_empty_entry_per_layer(
        old in history(), image in history(), new in history(),
        base_layers in 0usize..4, own in 0usize..4, new_layers in 0usize..4,
    ) {
        let layers = Layers { old: base_layers, image: base_layers + own, new: new_layers };
        if let Some(entries) = merge(&old, &image, &new, layers).entries {
            prop_assert_eq!(filled(&entries), new_layers + own);
        }
    }
}
