//! Strict hexadecimal text: `0x`, then an even number of digits of either case.
//!
//! Invariant: `decode(_, &encode(bytes)) == Ok(bytes)`, and every error names the field given.

/// Why a text is not the hexadecimal form of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {kind}")]
pub struct HexError {
    /// Where the text stands, for example `blocks[3].header`.
    pub field: String,
    /// What is wrong with it.
    pub kind: HexErrorKind,
}

/// The ways a text fails to be hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexErrorKind {
    /// The text does not begin with `0x`.
    #[error("hexadecimal without the 0x prefix")]
    MissingPrefix,
    /// The number of digits is odd.
    #[error("odd number of hexadecimal digits ({digits})")]
    OddLength {
        /// Digits after the prefix.
        digits: usize,
    },
    /// A byte of the text is no digit.
    #[error("no hexadecimal digit at offset {offset} after the prefix")]
    BadDigit {
        /// Offset in bytes, counted behind the prefix.
        offset: usize,
    },
}

/// Decodes `0x...`; `field` is only used to name the place in an error.
///
/// # Errors
/// Missing prefix, odd number of digits, or a character that is no digit.
pub fn decode(field: &str, text: &str) -> Result<Vec<u8>, HexError> {
    match text.strip_prefix("0x") {
        Some(digits) => decode_bare(field, digits),
        None => Err(HexError {
            field: field.to_owned(),
            kind: HexErrorKind::MissingPrefix,
        }),
    }
}

/// Decodes digits without a prefix, otherwise like [`decode`].
///
/// # Errors
/// Odd number of digits, or a character that is no digit.
pub fn decode_bare(field: &str, digits: &str) -> Result<Vec<u8>, HexError> {
    hex::decode(digits).map_err(|fault| HexError {
        field: field.to_owned(),
        kind: match fault {
            hex::FromHexError::InvalidHexCharacter { index, .. } => {
                HexErrorKind::BadDigit { offset: index }
            }
            _ => HexErrorKind::OddLength {
                digits: digits.len(),
            },
        },
    })
}

/// Lower-case digits behind `0x`; no bytes give `0x`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> HexErrorKind {
        let error = decode("blocks[3].header", text).unwrap_err();
        assert_eq!(error.field, "blocks[3].header");
        error.kind
    }

    #[test]
    fn both_ways_on_every_byte_value() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode("f", &encode(&all)), Ok(all));
        assert_eq!(encode(&[]), "0x");
        assert_eq!(decode("f", "0x"), Ok(vec![]));
        assert_eq!(decode("f", "0xAb"), Ok(vec![0xab]));
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!(kind(""), HexErrorKind::MissingPrefix);
        assert_eq!(kind("00"), HexErrorKind::MissingPrefix);
        assert_eq!(kind("0X00"), HexErrorKind::MissingPrefix);
        assert_eq!(kind("0x123"), HexErrorKind::OddLength { digits: 3 });
        assert_eq!(kind("0x12g4"), HexErrorKind::BadDigit { offset: 2 });
        assert_eq!(kind("0x 1"), HexErrorKind::BadDigit { offset: 0 });
    }

    #[test]
    fn the_message_names_the_field() {
        let message = decode("blocks[3].header", "0x1").unwrap_err().to_string();
        assert_eq!(
            message,
            "blocks[3].header: odd number of hexadecimal digits (1)"
        );
    }
}
