//! Following symbolic links inside a tree.

use palan_layer::tree::{Node, NodeKind, Tree};

/// As many links as Linux follows, `path_resolution(7)`.
const LINKS: usize = 40;

/// Where a path leads: to something that is there, through all links.
pub(crate) fn resolve<'t>(tree: &'t Tree, path: &[u8]) -> Option<(Vec<u8>, &'t Node)> {
    let path = walk(tree, path, true)?;
    let node = tree.get(&path)?;
    Some((path, node))
}

/// The file that a path leads to.
pub(crate) fn resolve_file<'t>(tree: &'t Tree, path: &[u8]) -> Option<(Vec<u8>, &'t Node)> {
    resolve(tree, path).filter(|(_, node)| matches!(node.kind, NodeKind::File { .. }))
}

/// Whether a path leads to something; the root always is there.
pub(crate) fn exists(tree: &Tree, path: &[u8]) -> bool {
    walk(tree, path, true).is_some()
}

/// Where something made under this name would come to be.
pub(crate) fn destination(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    walk(tree, path, false)
}

/// Follows links. `strict`: `None` where something is missing; else what is missing stays as it is spelt.
fn walk(tree: &Tree, path: &[u8], strict: bool) -> Option<Vec<u8>> {
    let mut links = 0;
    let mut here: Vec<u8> = Vec::new();
    let mut ahead: Vec<&[u8]> = path.split(|byte| *byte == b'/').rev().collect();
    while let Some(part) = ahead.pop() {
        match part {
            b"" | b"." => continue,
            b".." => {
                here.truncate(here.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let back = here.len();
        if !here.is_empty() {
            here.push(b'/');
        }
        here.extend_from_slice(part);
        match tree.get(&here).map(|node| &node.kind) {
            Some(NodeKind::Symlink(target)) => {
                links += 1;
                if links > LINKS {
                    return None;
                }
                here.truncate(if target.first() == Some(&b'/') { 0 } else { back });
                ahead.extend(target.split(|byte| *byte == b'/').rev());
            }
            Some(NodeKind::Dir { .. }) => {}
            Some(_) if ahead.iter().all(|part| part.is_empty()) => {}
            _ if strict => return None,
            _ => {}
        }
    }
    Some(here)
}
