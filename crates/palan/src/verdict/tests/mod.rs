//! Layers in, verdict out.

mod abi;
mod properties;
mod shadow;
mod steps;
mod world;

use std::sync::Arc;

use palan_layer::{Builder, Limits, Listing, tar::Meta};
use serde_json::{Map, Value, json};

use super::*;

/// A layer from entries: `a` file, `d` directory …, by [`put`].
fn layer(entries: &[&str]) -> Arc<Listing> {
    read(entries.iter().fold(Builder::new(), |layer, entry| put(layer, entry)))
}

fn read(layer: Builder) -> Arc<Listing> {
    Arc::new(Listing::read(layer.tar().unwrap().as_slice(), &INTEREST, &Limits::default()).unwrap())
}

/// One entry: `path=content` `path/` `path->target` `path=>other name` `-path` (removed) `path/*` (emptied), each with
/// `@mode` or `@mode:uid:gid` in front.
fn put(layer: Builder, entry: &str) -> Builder {
    let (meta, entry) = match entry.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
        Some((meta, entry)) => (Some(meta), entry),
        None => (None, entry),
    };
    let stamp = |mut base: Meta| {
        let mut parts = meta.unwrap_or_default().split(':');
        if let Some(mode) = parts.next().filter(|mode| !mode.is_empty()) {
            base = base.mode(u32::from_str_radix(mode, 8).unwrap());
        }
        let mut id = || parts.next().map_or(0, |id| id.parse().unwrap());
        (base.uid, base.gid) = (id(), id());
        base
    };
    if let Some(path) = entry.strip_prefix('-') {
        layer.whiteout(path)
    } else if let Some(dir) = entry.strip_suffix("/*") {
        layer.opaque(dir)
    } else if let Some((path, target)) = entry.split_once("=>") {
        layer.hard_link(path, target)
    } else if let Some((path, target)) = entry.split_once("->") {
        layer.with(|tar| tar.symlink(path, target, &stamp(Meta::LINK)))
    } else if let Some((path, content)) = entry.split_once('=') {
        layer.file_with(path, content, stamp(Meta::FILE))
    } else {
        layer.with(|tar| tar.dir(entry.trim_end_matches('/'), &stamp(Meta::DIR)))
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn config() -> Map<String, Value> {
    object(&json!({"architecture": "amd64", "os": "linux", "config": {}}))
}

/// Judges layers with configs that say nothing.
fn judge(old: &[Arc<Listing>], new: &[Arc<Listing>], own: &[Arc<Listing>]) -> Assessment {
    let config = config();
    let input = Input {
        old,
        new,
        own,
        app_config: &config,
        old_config: Some(&config),
        new_config: &config,
        result_config: &config,
        steps: Some(&[]),
    };
    assess(&input).unwrap()
}

/// Judges one layer each.
fn judge_entries(old: &[&str], new: &[&str], own: &[&str]) -> Assessment {
    judge(&[layer(old)], &[layer(new)], &[layer(own)])
}

/// Findings that lead to a grade, as `grade class path`.
fn graded(assessment: &Assessment) -> Vec<String> {
    let graded = assessment.findings.iter().filter_map(|found| Some((found.grade?, found)));
    let name = |class: Class| serde_json::to_value(class).unwrap().as_str().unwrap().to_owned();
    graded.map(|(grade, found)| format!("{grade} {} {}", name(found.class), found.path)).collect()
}
