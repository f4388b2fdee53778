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
        let found = scan_expecting(blob.as_slice(), &expected, &Limits::default()).unwrap();
        assert_eq!(found, scan(blob.as_slice(), &Limits::default()).unwrap());
        let same =
            (found.digest, found.size, found.diff_id, found.raw_size, found.compression, found.entries);
        assert_eq!(same, (packed.digest, blob.len() as u64, packed.diff_id, packed.raw_size, compression, 5));
        assert_eq!(found.ending, Ending { end: End::Marker, trailing: 0, hidden_data: false });
    }
}
