//! Bytes that are nearly messages: a good one, changed a few times as attackers change them.

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`; 0 where that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap_or(0) % limit.max(1)
    }

    /// One of these.
    pub(crate) fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// What smuggling is made of.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\0",
    b":",
    b";",
    b",",
    b"/",
    b"*",
    b"#",
    b"?",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"0",
    b"5",
    b"+5",
    b"-1",
    b"0x5",
    b"00005",
    b"5,5",
    b"5 5",
    b"5;",
    b"5;a=b",
    b"18446744073709551616",
    b"9999999999999999999",
    b"ffffffffffffffff",
    b"10000000000000005",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"chunked",
    b"xchunked",
    b"identity",
    b"chunked, identity",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length:\r\n",
    b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"transfer-encoding: CHUNKED\r\n",
    b"Transfer-Encoding\r\n : chunked\r\n",
    b"X: y\r\n folded\r\n",
    b"Host: b\r\n",
    b"Host:\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: transfer-encoding\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"http://b/",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST",
    b"HEAD",
    b"OPTIONS * HTTP/1.1",
];

/// One of `seeds`, or two of them one after the other, changed up to six times.
pub(crate) fn mutated(seeds: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.of(seeds).to_vec();
    if random.below(3) == 0 {
        bytes.extend_from_slice(random.of(seeds));
    }
    for _ in 0..random.below(7) {
        change(&mut bytes, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(8) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let end = (at + 1 + random.below(4)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        2 => {
            let word = random.of(WORDS);
            let end = (at + word.len()).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        3 => {
            let line = random_line(bytes, random);
            let copy = bytes[line.clone()].to_vec();
            bytes.splice(line.start..line.start, copy);
        }
        4 => {
            let line = random_line(bytes, random);
            bytes.drain(line);
        }
        // Where lines begin and end is where readers differ.
        5 | 6 => {
            let line = random_line(bytes, random);
            let place = random.of(&[&line.start, &line.end]);
            let word = random.of(WORDS);
            bytes.splice(*place..*place, word.iter().copied());
        }
        _ => {
            let word = random.of(WORDS);
            bytes.splice(at..at, word.iter().copied());
        }
    }
}

/// Any line, its end included.
fn random_line(bytes: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let at = random.below(bytes.len());
    let start = bytes[..at.min(bytes.len())]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let end = bytes[start..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| start + length + 1);
    start..end
}
