//! Numbers and counts for people.

use std::time::Duration;

pub(crate) use palan::text::{count, one_line, size};

/// `12 ms`, `3.4 s`, `2 min 5 s`.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_coarser() {
        let cases =
            [(0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (59_940, "59.9 s"), (125_000, "2 min 5 s")];
        for (ms, text) in cases {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
