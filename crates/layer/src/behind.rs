//! Writing on a thread of its own, behind who makes what is written: neither waits for the other's work.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use crate::Result;

/// Large enough that passing one on costs nothing beside writing it.
const PIECE: usize = 256 * 1024;
/// How many pieces may wait.
const AHEAD: usize = 2;

/// Gives `make` a writer whose bytes another thread writes to `out`, and flushes that. `make` is told that nobody writes
/// any more where writing failed; the reason is what this fails with then.
pub fn behind<T>(out: &mut (impl Write + Send), make: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let (sender, pieces) = sync_channel::<Vec<u8>>(AHEAD);
    let (back, spare) = sync_channel(AHEAD + 2);
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for piece in pieces {
                out.write_all(&piece)?;
                // Where nobody makes more, nobody wants it back.
                let _ = back.try_send(piece);
            }
            out.flush()
        });
        let mut ahead = Ahead { sender, spare, piece: Vec::new() };
        let made = make(&mut ahead).and_then(|made| Ok(ahead.pass_on().map(|()| made)?));
        drop(ahead);
        writer.join().map_err(|_| io::Error::other("the thread that writes has ended"))??;
        made
    })
}

struct Ahead {
    sender: SyncSender<Vec<u8>>,
    /// Pieces that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Ahead {
    fn pass_on(&mut self) -> io::Result<()> {
        let mut next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        next.clear();
        let full = std::mem::replace(&mut self.piece, next);
        self.sender.send(full).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Ahead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE {
            self.pass_on()?;
        }
        let n = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    /// What waits is written at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// Fails after so many bytes.
    struct Full(usize, Vec<u8>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.0 - self.1.len());
            self.1.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_is_written_in_its_order() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 7] {
            let content: Vec<u8> = (0..size).map(|n| n.to_le_bytes()[n % 3]).collect();
            let mut out = Full(usize::MAX, Vec::new());
            let made = behind(&mut out, |ahead| {
                content.chunks(1000).try_for_each(|chunk| ahead.write_all(chunk))?;
                Ok(size)
            });
            assert_eq!(made.unwrap(), size);
            assert!(out.1 == content, "{size}");
        }
    }

    #[test]
    fn who_makes_more_than_can_be_written_is_stopped() {
        let mut out = Full(3 * PIECE + 5, Vec::new());
        let made = behind(&mut out, |ahead| {
            loop {
                ahead.write_all(&[7; 4096])?;
            }
            #[allow(unreachable_code)]
            Ok(())
        });
        assert!(matches!(made, Err(Error::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
        assert_eq!(out.1.len(), 3 * PIECE + 5);
        let made = behind(&mut Full(5, Vec::new()), |ahead| Ok(ahead.write_all(&[7; 10])?));
        assert!(matches!(made, Err(Error::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
        let failed = behind(&mut Full(5, Vec::new()), |_| Err::<(), _>(Error::NotTar));
        assert!(matches!(failed, Err(Error::NotTar)));
    }
}
