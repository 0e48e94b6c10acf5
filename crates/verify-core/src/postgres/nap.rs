//! Rests of a bulk reader between reads, so that each read finds more.
//!
//! A server sends COPY data in pieces of 8 KiB. A reader that is faster than the server wakes for every piece, and
//! the two spend their time on waking each other. A short rest lets the socket's buffer fill. The length is found
//! from the sizes of the reads alone, without a clock.

use std::time::Duration;

/// Below this the server is idle or nearly done, and a rest would only add to the latency.
const TRICKLE: usize = 4 << 10;
/// Below this a read was not worth its wake-up.
const SMALL: usize = 64 << 10;
/// From here on reads are large enough, and a longer rest may leave the server with a full socket.
const LARGE: usize = 128 << 10;

const STEP_NS: u32 = 20_000;
const LIMIT_NS: u32 = 1_500_000;

/// The length of the rest, adapted from read to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Nap {
    length_ns: u32,
}

impl Nap {
    /// The rest before the next read, after a read that returned `read` of `wanted` bytes.
    #[inline]
    pub(super) fn after(&mut self, read: usize, wanted: usize) -> Duration {
        if read >= LARGE || read >= wanted {
            self.length_ns -= self.length_ns / 4;
            return Duration::ZERO;
        }
        if !(TRICKLE..SMALL).contains(&read) {
            return Duration::ZERO;
        }
        self.length_ns = (self.length_ns + self.length_ns / 2 + STEP_NS).min(LIMIT_NS);
        Duration::from_nanos(self.length_ns.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_reads_lengthen_the_rest_up_to_its_limit() {
        let mut nap = Nap::default();
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            let next = nap.after(8 << 10, 256 << 10);
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
        for _ in 0..100 {
            last = nap.after(8 << 10, 256 << 10);
        }
        assert_eq!(last, Duration::from_nanos(LIMIT_NS.into()));
    }

    #[test]
    fn large_reads_shorten_it_and_never_rest() {
        let mut nap = Nap { length_ns: LIMIT_NS };
        for _ in 0..40 {
            assert_eq!(nap.after(200 << 10, 256 << 10), Duration::ZERO);
        }
        assert!(nap.length_ns < 100, "{nap:?}");
    }

    #[test]
    fn no_rest_for_a_trickle_a_middling_read_or_a_full_one() {
        let mut nap = Nap { length_ns: 800_000 };
        assert_eq!(nap.after(100, 256 << 10), Duration::ZERO);
        assert_eq!(nap.after(100 << 10, 256 << 10), Duration::ZERO);
        assert_eq!(nap.length_ns, 800_000);
        assert_eq!(nap.after(8 << 10, 8 << 10), Duration::ZERO);
    }
}
