//! Reading text: JSON, and matching of patterns.

use core::hint::black_box;

const JSON: &[u8] = br#"{"block": {"number": 1234567, "hash": "0x8f3a\u0041\n", "extrinsics":
 [{"signer": "alice", "tip": 0, "call": ["transfer", "bob", 12.5e3, true]},
  {"signer": "bob", "tip": -17, "call": ["remark", "a longer text, with \"quotes\" in it", null]},
  {"signer": "carol", "tip": 3.25, "call": ["batch", [[], {}, [1, 2, 3, [4, [5, [6]]]]]]}]},
 "finalized": false, "weights": [0.1, 0.22, 0.333, 4444, 55555, 666666, 7777777, 88888888]}"#;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    sum: u64,
}

impl Reader<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn note(&mut self, value: u64) {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(value);
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    fn text(&mut self) {
        self.at += 1;
        loop {
            match self.peek() {
                b'"' | 0 => break,
                b'\\' => {
                    self.at += 1;
                    let escaped = self.peek();
                    self.note(escaped.into());
                    self.at += if escaped == b'u' { 5 } else { 1 };
                }
                byte => {
                    self.note(byte.into());
                    self.at += 1;
                }
            }
        }
        self.at += 1;
    }

    fn number(&mut self) {
        let mut value = 0_u64;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            let byte = self.peek();
            if byte.is_ascii_digit() {
                value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            }
            self.at += 1;
        }
        self.note(value);
    }

    fn list(&mut self, end: u8, named: bool) {
        self.at += 1;
        loop {
            self.space();
            if self.peek() == end || self.peek() == 0 {
                break;
            }
            if named {
                self.text();
                self.space();
                self.at += 1;
            }
            self.value();
            self.space();
            if self.peek() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn value(&mut self) {
        self.space();
        match self.peek() {
            b'{' => self.list(b'}', true),
            b'[' => self.list(b']', false),
            b'"' => self.text(),
            b't' | b'n' => {
                self.note(1);
                self.at += 4;
            }
            b'f' => {
                self.note(0);
                self.at += 5;
            }
            _ => self.number(),
        }
    }
}

/// Reads a JSON text, so many times.
pub fn json(rounds: u32) -> u64 {
    let mut sum = 0_u64;
    for _ in 0..rounds {
        let mut reader = Reader { text: black_box(JSON), at: 0, sum };
        reader.value();
        sum = reader.sum;
    }
    sum
}

/// Whether `text` begins with what `pattern` says: `.`, `*`, `+`, `?`, and letters.
fn begins(pattern: &[u8], text: &[u8]) -> Option<usize> {
    let Some((&first, rest)) = pattern.split_first() else {
        return Some(0);
    };
    let fits = |byte: u8| first == b'.' || first == byte;
    let (least, most, rest) = match rest.split_first() {
        Some((b'*', rest)) => (0, usize::MAX, rest),
        Some((b'+', rest)) => (1, usize::MAX, rest),
        Some((b'?', rest)) => (0, 1, rest),
        _ => (1, 1, rest),
    };
    let longest = text.iter().take(most).take_while(|byte| fits(**byte)).count();
    let mut taken = longest;
    loop {
        if taken < least {
            return None;
        }
        if let Some(behind) = begins(rest, &text[taken..]) {
            return Some(taken + behind);
        }
        taken = taken.checked_sub(1)?;
    }
}

/// Finds four patterns all over a text, so many times.
pub fn regex(rounds: u32) -> u64 {
    let patterns: [&[u8]; 4] = [b"a.*r", b"\"t?ip+\"", b"e+.i", b"66*7*,"];
    let mut sum = 0_u64;
    for _ in 0..rounds {
        let text = black_box(JSON);
        for pattern in patterns {
            for start in 0..text.len() {
                if let Some(length) = begins(pattern, &text[start..]) {
                    sum = sum.wrapping_mul(31).wrapping_add(length as u64);
                }
            }
        }
    }
    sum
}
