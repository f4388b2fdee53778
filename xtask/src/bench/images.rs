//! Real images to measure with: made from Debian packages, once, and used again.
//!
//! They need root, `debootstrap` and the network; or a layout from elsewhere with the tags `svc-1.0` (four layers),
//! `jre-17` (its two lowest) and `jre-21` is given with `--layout`.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::Result;

const BLOCK: usize = 512;

/// The bases: tag, Debian's name of the release, the package on top.
const BASES: [(&str, &str, &str); 2] =
    [("jre-17", "bookworm", "openjdk-17-jre-headless"), ("jre-21", "trixie", "openjdk-21-jre-headless")];
/// What the application's layers hold.
const CONTENT: [(&str, &str); 2] = [("lib", "/usr/share/perl"), ("classes", "/usr/share/zoneinfo")];

/// Makes the layout below `folder`, unless it is there.
pub fn make(palan: &Path, folder: &Path) -> Result<PathBuf> {
    let layout = folder.join("layout");
    if layout.join("index.json").exists() {
        return Ok(layout);
    }
    // Made under another name: what is there is whole.
    let unfinished = folder.join("layout.part");
    let _ = fs::remove_dir_all(&unfinished);
    clear(folder);
    for (tag, release, package) in BASES {
        base(palan, folder, &format!("oci:{}:{tag}", unfinished.display()), release, package)?;
    }
    let image = |tag: &str| format!("oci:{}:{tag}", unfinished.display());
    let mut below = image("jre-17");
    for (name, content) in CONTENT {
        let mut append = Command::new(palan);
        append.args(["append", "-b", &below, "-f", content, "--prefix", &format!("/srv/app/{name}")]);
        run(append.args(["-t", &image("svc-1.0")]))?;
        below = image("svc-1.0");
    }
    fs::rename(&unfinished, &layout).map_err(|e| format!("cannot rename {}: {e}", unfinished.display()))?;
    clear(folder);
    Ok(layout)
}

/// Removes the trees that images are made of, two gigabytes: what an interrupted run left could not be gone on with.
fn clear(folder: &Path) {
    for (_, release, _) in BASES {
        for end in ["", "-jre", "-delta"] {
            let _ = fs::remove_dir_all(folder.join(format!("{release}{end}")));
        }
    }
}

/// An image of two layers: a minimal Debian, and what installing the package adds to it.
fn base(palan: &Path, folder: &Path, image: &str, release: &str, package: &str) -> Result {
    let (minimal, full) = (folder.join(release), folder.join(format!("{release}-jre")));
    for (root, include) in [(&minimal, None), (&full, Some(package))] {
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.arg("--variant=minbase");
        debootstrap.args(include.map(|package| format!("--include={package}")));
        run(debootstrap.arg(release).arg(root))?;
        // No image keeps the packages that it was made of, which do not shrink.
        let packages = root.join("var/cache/apt/archives");
        fs::remove_dir_all(&packages).map_err(|e| format!("cannot remove {}: {e}", packages.display()))?;
    }
    let delta = folder.join(format!("{release}-delta"));
    let mut rsync = Command::new("rsync");
    let compare = format!("--compare-dest={}/", minimal.display());
    run(rsync.args(["-a", "--prune-empty-dirs", &compare]).arg(full.join("")).arg(delta.join("")))?;
    let mut append = Command::new(palan);
    append.args(["append", "--oci-empty-base", "-f"]).arg(&minimal).arg("-f").arg(&delta);
    run(append.args(["-t", image]))
}

/// An archive of at most this many bytes: the entries of another in their order, but for those that are too large.
pub fn part(whole: &Path, most: u64, out: &Path) -> Result {
    let read = |e| format!("cannot read {}: {e}", whole.display());
    let write = |e| format!("cannot write {}: {e}", out.display());
    let mut reader = BufReader::new(File::open(whole).map_err(read)?);
    let mut writer = BufWriter::new(File::create(out).map_err(write)?);
    let (mut left, mut block, mut entry) = (most, [0; BLOCK], Vec::new());
    loop {
        reader.read_exact(&mut block).map_err(read)?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let content = size(&block)?.next_multiple_of(BLOCK as u64);
        entry.extend_from_slice(&block);
        (&mut reader).take(content).read_to_end(&mut entry).map_err(read)?;
        // A header that says something about the next entry goes with it.
        if matches!(block[156], b'x' | b'L' | b'K') {
            continue;
        }
        if let Some(rest) = left.checked_sub(entry.len() as u64) {
            writer.write_all(&entry).map_err(write)?;
            left = rest;
        }
        entry.clear();
    }
    writer.write_all(&[0; 2 * BLOCK]).and_then(|()| writer.flush()).map_err(write)
}

/// The size that a header block states: octal, or binary if the first bit is set.
fn size(header: &[u8; BLOCK]) -> Result<u64> {
    let field = &header[124..136];
    if field[0] & 0x80 != 0 {
        return Ok(field[4..].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)));
    }
    let text = String::from_utf8_lossy(field);
    let digits = text.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).map_err(|_| format!("not the size of an entry: {text:?}"))
}

fn run(command: &mut Command) -> Result {
    let status = command.status().map_err(|e| format!("cannot run {:?}: {e}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
}
