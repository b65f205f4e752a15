//! Output of guests on an operator's terminal.
//!
//! A guest may write any bytes to its console. Some of them make a terminal act: set the clipboard (OSC 52), report its title
//! as if it had been typed, print, or resize. [`Filter`] passes text, colours and movements of the cursor on to a terminal and
//! drops all other sequences. [`escape`] shows every control character, for logs and status.

/// What a terminal may get of a control sequence: its last byte (ECMA-48 §8.3, xterm's `ctlseqs`). Movements, erasing,
/// scrolling, modes, colours, tabulators, position, and the questions for position and kind, whose answers only the guest gets.
const CSI: &[u8] = b"@ABCDEFGHIJKLMPSTXZ`acdefghlmnrsu";
/// Sequences of two bytes: cursor, keypad, lines, tabulators, reset.
const TWO_BYTES: &[u8] = b"78=>DEHMc";
/// The longest control sequence that is passed on.
const LONGEST: usize = 64;

/// A streaming filter from a guest to a terminal.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The sequence so far.
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// So many bytes of a character are missing (RFC 3629).
    Character(u8),
    /// Behind ESC.
    Escape,
    /// Behind ESC and `(` or another that selects a set of characters.
    Charset,
    /// In a control sequence.
    Csi,
    /// In a string for the terminal (OSC, DCS, SOS, PM, APC), which ends with BEL or ST. The flag: behind ESC.
    String(bool),
}

impl Filter {
    /// The part of `bytes` that a terminal may get, with what was held back before.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.state = self.next(*byte, &mut out);
        }
        out
    }

    fn next(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        match self.state {
            State::Text => self.text(byte, out),
            State::Character(missing) => self.character(missing, byte, out),
            State::Escape => match byte {
                b'[' => self.hold(byte, State::Csi),
                b'(' | b')' | b'*' | b'+' => self.hold(byte, State::Charset),
                b']' | b'P' | b'X' | b'^' | b'_' => State::String(false),
                _ if TWO_BYTES.contains(&byte) => self.release(byte, out),
                // control characters act within sequences, too
                0x00..=0x1f | 0x7f.. => self.text(byte, out),
                _ => State::Text,
            },
            State::Charset => match byte {
                0x30..=0x7e => self.release(byte, out),
                _ => self.text(byte, out),
            },
            State::Csi => match byte {
                0x20..=0x3f => self.hold(byte, State::Csi),
                // with an intermediate byte it is another function
                0x40..=0x7e if CSI.contains(&byte) && !self.held.iter().any(|b| matches!(b, 0x20..=0x2f)) => {
                    self.release(byte, out)
                }
                0x40..=0x7e => State::Text,
                _ => self.text(byte, out),
            },
            State::String(_) if byte == 0x07 => State::Text,
            // the terminal has not seen the string's beginning, so nothing of it is lost on the terminal
            State::String(_) if byte == b'\n' => self.text(byte, out),
            State::String(true) if byte == b'\\' => State::Text,
            State::String(_) => State::String(byte == 0x1b),
        }
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        self.held.clear();
        match byte {
            0x1b => self.hold(byte, State::Escape),
            // BEL, BS, HT, LF, VT, FF, CR, SO, SI
            0x07..=0x0f | 0x20..=0x7e => self.release(byte, out),
            0xc2..=0xdf => self.hold(byte, State::Character(1)),
            0xe0..=0xef => self.hold(byte, State::Character(2)),
            0xf0..=0xf4 => self.hold(byte, State::Character(3)),
            // other control characters, and bytes of no character, which some terminals take for control characters
            _ => {
                out.extend(hex(byte).bytes());
                State::Text
            }
        }
    }

    fn character(&mut self, missing: u8, byte: u8, out: &mut Vec<u8>) -> State {
        if !matches!(byte, 0x80..=0xbf) {
            out.extend(self.held.drain(..).flat_map(|b| hex(b).into_bytes()));
            return self.text(byte, out);
        }
        self.held.push(byte);
        if missing > 1 {
            return State::Character(missing - 1);
        }
        match std::str::from_utf8(&self.held) {
            // U+0080 to U+009F are control characters (ECMA-48 §5.3)
            Ok(text) if !text.contains(char::is_control) => out.append(&mut self.held),
            _ => out.extend(self.held.drain(..).flat_map(|b| hex(b).into_bytes())),
        }
        State::Text
    }

    fn hold(&mut self, byte: u8, state: State) -> State {
        self.held.push(byte);
        if self.held.len() > LONGEST {
            self.held.clear();
            return State::Text;
        }
        state
    }

    fn release(&mut self, byte: u8, out: &mut Vec<u8>) -> State {
        out.append(&mut self.held);
        out.push(byte);
        State::Text
    }
}

fn hex(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

/// Text for a log: every control character but line feed, carriage return and tabulator as `\x1b`.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() && !matches!(c, '\n' | '\r' | '\t') {
            out.push_str(&hex(u32::from(c).to_le_bytes()[0]));
        } else {
            out.push(c);
        }
        out
    })
}

/// [`escape`] for a stream: a character may come in two pieces.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    /// The first bytes of a character.
    held: Vec<u8>,
}

impl Escape {
    /// The text of `bytes`, and of the bytes that were held back before.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(good) => {
                    text.push_str(&escape(good));
                    self.held.clear();
                    return text;
                }
                Err(e) => {
                    let (good, rest) = self.held.split_at(e.valid_up_to());
                    text.push_str(&escape(&String::from_utf8_lossy(good)));
                    let Some(bad) = e.error_len() else {
                        self.held = rest.to_vec();
                        return text;
                    };
                    text.extend(rest[..bad].iter().map(|b| hex(*b)));
                    self.held = rest[bad..].to_vec();
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pass(bytes: &[u8]) -> String {
        let whole = Filter::default().pass(bytes);
        let mut filter = Filter::default();
        let pieces: Vec<u8> = bytes.iter().flat_map(|b| filter.pass(&[*b])).collect();
        assert_eq!(whole, pieces, "in pieces it is the same");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn text_colours_and_the_cursor_reach_a_terminal() {
        for text in [
            "login: \r\n\tgrün 中 🦀\x08\x07",
            "\x1b[1;31mred\x1b[0m",
            "\x1b[2J\x1b[H\x1b[?25l\x1b[10;1H",
            "\x1b7\x1b8\x1bM\x1bc\x1b(B\x1b[6n",
        ] {
            assert_eq!(pass(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_makes_a_terminal_act_is_dropped() {
        for (bytes, expected) in [
            // clipboard, title, by either end
            (&b"a\x1b]52;c;cm0gLXJm\x07b"[..], "ab"),
            (b"a\x1b]0;title\x1b\\b", "ab"),
            // a string without end swallows the rest of its line
            (b"a\x1b]0;\x1b[31mx\nb", "a\nb"),
            // DCS, SOS, PM, APC
            (b"a\x1bP$qm\x1b\\b\x1bXs\x1b\\c\x1b^p\x1b\\d\x1b_a\x1b\\e", "abcde"),
            // report of the title, window, printing, keyboard leds
            (b"a\x1b[21tb\x1b[8;1;1tc\x1b[5id\x1b[3qe", "abcde"),
            // functions with an intermediate byte
            (b"a\x1b[!pb\x1b[1 qc", "abc"),
            (b"a\x1b#8b", "a8b"),
        ] {
            assert_eq!(pass(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn control_characters_in_eight_bits_are_shown() {
        assert_eq!(pass(b"\x9b31m \x9d52;c;x\x07"), "\\x9b31m \\x9d52;c;x\x07");
        assert_eq!(pass("\u{9b}31m".as_bytes()), "\\xc2\\x9b31m");
        assert_eq!(pass(b"\xc3\xc3\xa4\xff\x05\x7f\xe4\xb8\x1b[m"), "\\xc3ä\\xff\\x05\\x7f\\xe4\\xb8\x1b[m");
        // no other way to write ESC, and no surrogates
        assert_eq!(pass(b"\xc0\x9b\xed\xa0\x80"), "\\xc0\\x9b\\xed\\xa0\\x80");
    }

    #[test]
    fn an_endless_sequence_is_given_up() {
        let mut bytes = b"\x1b[".to_vec();
        bytes.extend([b'1'; 200]);
        let mut filter = Filter::default();
        filter.pass(&bytes);
        assert!(filter.held.len() <= LONGEST);
    }

    #[test]
    fn a_log_shows_every_control_character() {
        assert_eq!(escape("a\r\n\t\x1b[31m\u{9b}ü"), "a\r\n\t\\x1b[31m\\x9bü");
        let mut stream = Escape::default();
        let pieces: String = [&b"\xe4\xb8"[..], b"\xad\x1b]52\xff", b"\xc3", b"a"].map(|b| stream.pass(b)).concat();
        assert_eq!(pieces, "中\\x1b]52\\xff\\xc3a");
    }
}
