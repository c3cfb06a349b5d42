//! Chunked bodies (RFC 9112 section 7.1), followed as they come, in pieces of any size.

use crate::Refusal;
use crate::bytes::is_value_byte;
use crate::field::Fields;

/// Most bytes of extensions of one chunk, and a sixteenth of what all chunks of a message may have.
pub const MAX_EXTENSION_BYTES: u32 = 256;
/// Most bytes of the extensions of all chunks of a message.
const MAX_ALL_EXTENSION_BYTES: u32 = 16 * MAX_EXTENSION_BYTES;
/// Most bytes of the trailers of a message.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Most digits of a chunk size: enough for 2^60.
const MAX_SIZE_DIGITS: u8 = 15;

/// Follows one chunked body.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkedReader {
    state: State,
    /// The size read so far, then the bytes left of the chunk.
    left: u64,
    digits: u8,
    extension_bytes: u32,
    all_extension_bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    Trailers,
    End,
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes are framing.
    Framing(usize),
    /// This many bytes are data.
    Data(usize),
    /// This many bytes are the trailers with the empty line after them; the body has ended.
    Trailers(usize),
    /// Nothing can be said before more bytes have come. The bytes offered are not to be consumed: they are the
    /// beginning of trailers and will be offered again with what follows.
    More,
}

impl ChunkedReader {
    /// At the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::End
    }

    /// Says what `input` begins with, and counts that as consumed. `fields` is for the trailers.
    ///
    /// # Errors
    ///
    /// What is not exactly a chunked body, or has extensions or trailers over the limits.
    pub fn next(&mut self, input: &[u8], fields: &mut Fields) -> Result<Piece, Refusal> {
        match self.state {
            State::Data => Ok(self.data(input)),
            State::Trailers => self.trailers(input, fields),
            State::End => Ok(Piece::More),
            _ => self.framing(input),
        }
    }

    fn data(&mut self, input: &[u8]) -> Piece {
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(input.len());
        self.left -= length as u64;
        if self.left == 0 {
            self.state = State::DataCarriageReturn;
        }
        if length == 0 {
            Piece::More
        } else {
            Piece::Data(length)
        }
    }

    fn trailers(&mut self, input: &[u8], fields: &mut Fields) -> Result<Piece, Refusal> {
        match fields.read(input, 0) {
            Ok(Some(length)) if length <= MAX_TRAILER_BYTES && fields.are_trailers() => {
                self.state = State::End;
                Ok(Piece::Trailers(length))
            }
            Ok(None) if input.len() < MAX_TRAILER_BYTES => Ok(Piece::More),
            _ => Err(Refusal::Trailers),
        }
    }

    fn framing(&mut self, input: &[u8]) -> Result<Piece, Refusal> {
        let mut length = 0;
        for byte in input {
            self.framing_byte(*byte)?;
            length += 1;
            if matches!(self.state, State::Data | State::Trailers) {
                break;
            }
        }
        Ok(if length == 0 {
            Piece::More
        } else {
            Piece::Framing(length)
        })
    }

    fn framing_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => self.state = State::SizeLineFeed,
            (State::Size, b';') if self.digits > 0 => {
                self.extension_bytes = 0;
                self.state = State::Extension;
                self.count_extension_byte()?;
            }
            (State::Size, digit) => self.size_digit(digit)?,
            (State::Extension, b'\r') => self.state = State::SizeLineFeed,
            (State::Extension, byte) if is_value_byte(byte) => self.count_extension_byte()?,
            (State::Extension, _) => return Err(Refusal::ChunkExtension),
            (State::SizeLineFeed, b'\n') => {
                self.digits = 0;
                self.state = if self.left == 0 {
                    State::Trailers
                } else {
                    State::Data
                };
            }
            (State::SizeLineFeed, _) => return Err(Refusal::BareCarriageReturn),
            (State::DataCarriageReturn, b'\r') => self.state = State::DataLineFeed,
            (State::DataLineFeed, b'\n') => self.state = State::Size,
            _ => return Err(Refusal::ChunkEnd),
        }
        Ok(())
    }

    fn size_digit(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(Refusal::ChunkSize),
        };
        if self.digits == MAX_SIZE_DIGITS {
            return Err(Refusal::ChunkSize);
        }
        self.digits += 1;
        self.left = self.left * 16 + u64::from(digit);
        Ok(())
    }

    fn count_extension_byte(&mut self) -> Result<(), Refusal> {
        self.extension_bytes += 1;
        self.all_extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES
            || self.all_extension_bytes > MAX_ALL_EXTENSION_BYTES
        {
            return Err(Refusal::ChunkExtension);
        }
        Ok(())
    }
}
