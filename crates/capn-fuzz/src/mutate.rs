//! Deterministic mutations: the same seed yields the same bytes.

/// Fragments that are significant to parsers.
const FRAGMENTS: [&str; 44] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "{{",
    "}}",
    "\"",
    "'",
    ",",
    ":",
    "/",
    "\\",
    "~1",
    "*",
    "&a ",
    "*a",
    "<<: ",
    "\n",
    "\n- ",
    "  ",
    "\t",
    "\0",
    "\u{1b}",
    "\u{feff}",
    "\u{202e}",
    "%00",
    "%2e%2e%2f",
    "..",
    "-1",
    "0",
    "9223372036854775807",
    "18446744073709551616",
    "1e999",
    "NaN",
    "null",
    "true",
    "$patch",
    "metadata",
    "finalizers",
    "self.a",
    "!",
    "{{ range . }}",
];

/// A pseudorandom number generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*, whose state must not be zero.
        self.0 = if self.0 == 0 { 1 } else { self.0 };
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

/// Applies one to four changes to a corpus entry.
pub fn mutate(corpus: &[Vec<u8>], chance: &mut Rng) -> Vec<u8> {
    let mut bytes = corpus.get(chance.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.below(4) {
        change(&mut bytes, corpus, chance);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Rng) {
    let at = chance.below(bytes.len() + 1);
    let end = at + chance.below(bytes.len() - at + 1);
    let fragment =
        FRAGMENTS.get(chance.below(FRAGMENTS.len())).copied().unwrap_or_default().as_bytes();
    match chance.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes.get(at..end).unwrap_or_default().to_vec();
            drop(bytes.splice(at..at, copy));
        }
        3 => {
            // Deep or long.
            let times = 1 << chance.below(13);
            drop(bytes.splice(at..at, fragment.repeat(times)));
        }
        4 => {
            let times = 1 << chance.below(8);
            let middle = bytes.get(at..end).unwrap_or_default().repeat(times);
            drop(bytes.splice(at..end, middle.into_iter().take(200_000)));
        }
        5 => bytes.truncate(at),
        6 => {
            let other = corpus.get(chance.below(corpus.len())).cloned().unwrap_or_default();
            let from = chance.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend(other.into_iter().skip(from));
        }
        _ => drop(bytes.splice(at..at, fragment.iter().copied())),
    }
}
