//! JSON as Python writes it, made strict JSON while it is read.

use std::io::{self, BufRead, Read};

use memchr::memchr2;

use super::numbers::identifier;

/// Bytes of a number or word that are looked at as a whole; longer ones stay as they are.
const TOKEN: usize = 1 << 14;

/// The keys whose numbers are identifiers of images.
const KEYS: [&[u8]; 3] = [b"image_id", b"image", b"id"];

/// Strict JSON of a Python program's output.
///
/// `NaN`, `Infinity` and `-Infinity` become `null`. Numbers of identifiers become strings, so that
/// all digits stay: a JSON parser keeps 64 bits. All else stays as it is, and so do all lines.
pub(super) struct PythonJson<R> {
    reader: R,
    translator: Translator,
    given: usize,
    is_end: bool,
}

/// The state between two pieces of a file, and the last piece as strict JSON.
struct Translator {
    /// The depth from which objects are records with identifiers; a whole file is at 0.
    record_depth: usize,
    translated: Vec<u8>,
    state: State,
    depth: usize,
    /// The start of the last string, long enough to know a key.
    string: Vec<u8>,
    is_identifier: bool,
    token: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    InString,
    /// Behind a backslash.
    Escaped,
    InToken,
    /// In a token that is too long to be looked at.
    InLongToken,
}

impl<R: BufRead> PythonJson<R> {
    pub(super) fn new(reader: R, record_depth: usize) -> Self {
        let translator = Translator {
            record_depth,
            translated: Vec::new(),
            state: State::Between,
            depth: 0,
            string: Vec::new(),
            is_identifier: false,
            token: Vec::new(),
        };
        Self { reader, translator, given: 0, is_end: false }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.translator.translated.clear();
        self.given = 0;
        let piece = self.reader.fill_buf()?;
        let length = piece.len();
        self.is_end = length == 0;
        if self.is_end {
            self.translator.end_token();
        } else {
            self.translator.take(piece);
        }
        self.reader.consume(length);
        Ok(())
    }
}

impl Translator {
    /// Translates the next piece.
    fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            match self.state {
                State::InString => {
                    let end = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    let room = (KEYS[0].len() + 1).saturating_sub(self.string.len());
                    self.string.extend_from_slice(&rest[..end.min(room)]);
                    let through = rest.len().min(end + 1);
                    self.translated.extend_from_slice(&rest[..through]);
                    match rest.get(end) {
                        Some(b'"') => self.state = State::Between,
                        Some(_) => self.state = State::Escaped,
                        None => {}
                    }
                    rest = &rest[through..];
                    continue;
                }
                State::Escaped => {
                    if self.string.len() <= KEYS[0].len() {
                        // No key of an identifier has one.
                        self.string.push(b'\\');
                    }
                    self.translated.push(byte);
                    self.state = State::InString;
                }
                State::Between | State::InToken | State::InLongToken => self.outside(byte),
            }
            rest = behind;
        }
    }

    /// Takes a byte that is in no string.
    fn outside(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_') {
            self.token.push(byte);
            if self.state == State::InLongToken || self.token.len() > TOKEN {
                self.translated.append(&mut self.token);
                self.state = State::InLongToken;
            } else {
                self.state = State::InToken;
            }
            return;
        }
        self.end_token();
        match byte {
            b'"' => {
                self.string.clear();
                self.state = State::InString;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if byte == b':' {
            let is_key = KEYS.iter().any(|key| self.string == *key);
            self.is_identifier = is_key && self.depth >= self.record_depth;
        } else if !byte.is_ascii_whitespace() {
            self.is_identifier = false;
        }
        self.translated.push(byte);
    }

    fn end_token(&mut self) {
        if self.state == State::InToken {
            let identifier = if self.is_identifier { identifier(&self.token) } else { None };
            match (&self.token[..], identifier) {
                (_, Some(identifier)) => {
                    self.translated.extend_from_slice(format!("\"{identifier}\"").as_bytes());
                }
                (b"NaN" | b"Infinity" | b"-Infinity", None) => self.translated.extend(b"null"),
                (token, None) => self.translated.extend_from_slice(token),
            }
            self.token.clear();
        }
        if matches!(self.state, State::InToken | State::InLongToken) {
            self.state = State::Between;
            self.is_identifier = false;
        }
    }
}

impl<R: BufRead> Read for PythonJson<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.translator.translated.len() && !self.is_end {
            self.refill()?;
        }
        let rest = &self.translator.translated[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn strict(python: &str, at_once: usize) -> String {
        let mut text = String::new();
        let slowly = BufReader::with_capacity(at_once, python.as_bytes());
        let read = PythonJson::new(slowly, 1).read_to_string(&mut text);
        read.map(|_| text).unwrap_or_default()
    }

    #[test]
    fn words_of_python_and_numbers_of_identifiers_are_translated_wherever_pieces_end() {
        for (python, json) in [
            ("NaN", "null"),
            ("[NaN,Infinity,-Infinity , 1]", "[null,null,null , 1]"),
            (r#"{"NaN": "-Infinity", "a\"NaN": NaN}"#, r#"{"NaN": "-Infinity", "a\"NaN": null}"#),
            (
                r#"{"image_id": 100000000000000000001, "score": 100000000000000000001}"#,
                r#"{"image_id": "100000000000000000001", "score": 100000000000000000001}"#,
            ),
            (r#"{"id" :1e2,"x":"id","y": 3}"#, r#"{"id" :"100","x":"id","y": 3}"#),
            (r#"{"id": [1, 2], "image_id": null}"#, r#"{"id": [1, 2], "image_id": null}"#),
            (r#"{"image_id": 1e999, "image_id2": 5}"#, r#"{"image_id": 1e999, "image_id2": 5}"#),
            (r#"{"i\nd": 5, "i\u0064": 5}"#, r#"{"i\nd": 5, "i\u0064": 5}"#),
            (r#"{"id": NaN, "xid": 5, "\\": -0}"#, r#"{"id": null, "xid": 5, "\\": -0}"#),
            ("NaNa -NaN nan Inf +Infinity", "NaNa -NaN nan Inf +Infinity"),
            ("\"NaN", "\"NaN"),
            ("\"\\", "\"\\"),
        ] {
            for at_once in [1, 2, 3, 7, 1 << 20] {
                assert_eq!(strict(python, at_once), json, "{at_once} bytes at once");
            }
        }
    }

    #[test]
    fn identifiers_are_only_numbers_of_records() {
        let mut text = String::new();
        let file = br#"{"id": 5, "a": [{"id": 5}]}"#;
        let read = PythonJson::new(&file[..], 2).read_to_string(&mut text);
        assert_eq!((read.is_ok(), &text[..]), (true, r#"{"id": 5, "a": [{"id": "5"}]}"#));
    }

    #[test]
    fn a_number_without_end_is_not_held_in_memory() {
        let long = "1".repeat(TOKEN * 3);
        let record = format!("{{\"id\": {long}, \"b\": NaN}}");
        assert_eq!(strict(&record, 1000), format!("{{\"id\": {long}, \"b\": null}}"));
    }
}
