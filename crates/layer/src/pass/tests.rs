use super::*;
use crate::{Builder, tar::End};

fn archive() -> Vec<u8> {
    let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let builder = Builder::new().dir("bin").program("bin/tool", noise).symlink("bin/t", "tool");
    builder.file("etc/os-release", b"ID=x\n").whiteout("etc/old").tar().unwrap()
}

const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn packed(compression: Compression) -> (Packed, Vec<u8>) {
    let mut blob = Vec::new();
    let packed = pack_layer(archive().as_slice(), &Packing::new(compression), &mut blob).unwrap();
    (packed, blob)
}

#[test]
fn packing_and_scanning_agree() {
    for compression in ALL {
        let (packed, blob) = packed(compression);
        assert_eq!(packed.digest, Digest::sha256(&blob));
        assert_eq!(packed.diff_id, Digest::sha256(&archive()));
        let expected = packed.descriptor(Family::Oci).unwrap();
        let found = scan_expecting(blob.as_slice(), &expected.clone().into(), &Limits::default()).unwrap();
        found.check_diff_id(packed.diff_id).unwrap();
        assert!(matches!(found.check_diff_id(Digest::sha256(b"")), Err(Error::DiffId { .. })));
        assert_eq!(found, scan(blob.as_slice(), &Limits::default()).unwrap());
        let same =
            (found.digest, found.size, found.diff_id, found.raw_size, found.compression, found.entries);
        assert_eq!(same, (packed.digest, blob.len() as u64, packed.diff_id, packed.raw_size, compression, 5));
        assert_eq!(found.ending, Ending { end: End::Marker, trailing: 0, hidden_data: false });
    }
}

#[test]
fn the_same_archive_packs_to_the_same_blob() {
    for compression in ALL {
        let with = |n| {
            let mut packing = Packing::new(compression);
            packing.threads = NonZeroUsize::new(n).unwrap();
            let mut blob = Vec::new();
            pack_layer(archive().as_slice(), &packing, &mut blob).unwrap();
            Digest::sha256(&blob)
        };
        assert_eq!(with(1), with(3));
    }
}

#[test]
fn compressed_input_is_kept_unless_the_family_cannot_hold_it() {
    for input in ALL {
        let (made, blob) = packed(input);
        for target in ALL {
            let mut out = Vec::new();
            let again = pack_layer(blob.as_slice(), &Packing::new(target), &mut out).unwrap();
            assert_eq!(again.diff_id, made.diff_id);
            if input != Compression::None {
                assert_eq!((again, &out), (made.clone(), &blob));
            } else {
                assert_eq!(again, packed(target).0);
            }
        }
    }
    let packing = Packing::for_family(Family::Docker, Compression::Gzip).unwrap();
    let (zstd, blob) = packed(Compression::Zstd);
    let converted = pack_layer(blob.as_slice(), &packing, std::io::sink()).unwrap();
    assert_eq!(converted, packed(Compression::Gzip).0);
    assert_eq!(converted.diff_id, zstd.diff_id);
    assert!(Packing::for_family(Family::Docker, Compression::Zstd).is_none());
    let (gzip, blob) = packed(Compression::Gzip);
    assert_eq!(pack_layer(blob.as_slice(), &packing, std::io::sink()).unwrap(), gzip);
}

/// Counts how often each byte is read.
struct Once<'a>(&'a [u8], u64);

impl Read for Once<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buf)?;
        self.1 += n as u64;
        Ok(n)
    }
}

#[test]
fn every_byte_is_read_exactly_once() {
    for compression in ALL {
        let (made, blob) = packed(compression);
        let mut reader = Once(&blob, 0);
        scan_expecting(&mut reader, &made.descriptor(Family::Oci).unwrap().into(), &Limits::default())
            .unwrap();
        assert_eq!(reader.1, blob.len() as u64);
    }
}

#[test]
fn a_blob_that_is_not_the_promised_one_is_named_as_such() {
    for compression in ALL {
        let (made, blob) = packed(compression);
        let descriptor = made.descriptor(Family::Oci).unwrap();
        let with = |bytes: &[u8], expected: &Descriptor| {
            scan_expecting(bytes, &expected.clone().into(), &Limits::default()).unwrap_err()
        };
        let mut damaged = blob.clone();
        damaged[blob.len() / 2] ^= 1;
        for bytes in [
            &damaged[..],
            &blob[..blob.len() - 1],
            &blob[..blob.len() / 2],
            b"",
            &[&blob[..], b"\0"].concat(),
        ] {
            let error = with(bytes, &descriptor);
            assert!(matches!(error, Error::Content(_)), "{compression}, {} bytes: {error:?}", bytes.len());
        }
        // The promised bytes, but they are damaged: the damage is the error.
        let cut = &blob[..blob.len() / 2];
        let expected = Descriptor::new(descriptor.media_type.clone(), Digest::sha256(cut), cut.len() as u64);
        let error = with(cut, &expected);
        assert!(matches!(error, Error::Truncated { .. } | Error::EntryCutOff { .. }), "{error:?}");
    }
}

#[test]
fn sha512_descriptors_are_honoured() {
    let (_, blob) = packed(Compression::Gzip);
    let digest = Algorithm::Sha512.digest(&blob);
    let expected = Descriptor::new(palan_core::MediaType::OCI_LAYER_GZIP, digest, blob.len() as u64);
    assert_eq!(
        scan_expecting(blob.as_slice(), &expected.clone().into(), &Limits::default()).unwrap().digest,
        digest
    );
}

#[test]
fn truncated_archives_are_not_packed() {
    let builder = Builder::new().dir("a").file("a/b", [7; 3000]).file("a/c", [8; 1024]).symlink("l", "a");
    let tar = builder.file(format!("long/{}", "n".repeat(200)), b"x").tar().unwrap();
    for cut in (0..tar.len()).filter(|cut| cut % 512 < 2 || cut % 7 == 0) {
        let result = pack_layer(&tar[..cut], &Packing::new(Compression::None), std::io::sink());
        let error = result.expect_err(&format!("cut at {cut} of {}", tar.len()));
        // Before its mark, a header cannot be told from anything else.
        let unknown = cut < 262 && matches!(error, Error::NotTar);
        let cut_off = matches!(error, Error::TarCutOff { .. } | Error::EntryCutOff { .. });
        assert!(unknown || cut_off, "{cut}: {error:?}");
    }
}

#[test]
fn what_follows_the_end_is_part_of_the_diff_id_and_reported() {
    let tar = [&archive()[..], &[0; 8192], b"hidden"].concat();
    let found = scan(tar.as_slice(), &Limits::default()).unwrap();
    assert_eq!(found.ending, Ending { end: End::Marker, trailing: 8198, hidden_data: true });
    assert_eq!(found.diff_id, Digest::sha256(&tar));
}

#[test]
fn not_a_layer_at_all() {
    let cases = [
        (&b"<!DOCTYPE html>"[..], "it is no tar archive"),
        (&[b'x'; 600], "it is no tar archive"),
        (b"", ""),
    ];
    for (blob, message) in cases {
        match scan(blob, &Limits::default()) {
            Ok(scan) => assert!(blob.is_empty() && scan.ending.end == End::Missing),
            Err(error) => assert!(error.to_string().starts_with(message), "{error}"),
        }
    }
}

#[test]
fn a_listing_is_read_in_the_pass_that_checks_the_blob() {
    for compression in ALL {
        let (packed, blob) = packed(compression);
        let expected = packed.descriptor(Family::Oci).unwrap();
        let list = |blob: &[u8], diff_id| {
            list_expecting(
                blob,
                &expected.clone().into(),
                diff_id,
                &Interest::everything(|_| true),
                &Limits::default(),
            )
        };
        let (found, listing) = list(&blob, packed.diff_id).unwrap();
        assert_eq!(
            found,
            scan_expecting(blob.as_slice(), &expected.clone().into(), &Limits::default()).unwrap()
        );
        let read = Listing::read(archive().as_slice(), &Interest::everything(|_| true), &Limits::default());
        assert_eq!((listing.entries, listing), (5, read.unwrap()));
        assert!(matches!(list(&blob, Digest::sha256(b"")), Err(Error::DiffId { .. })));
        let mut damaged = blob.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(list(&damaged, packed.diff_id), Err(Error::Content(_))), "{compression}");
    }
}
