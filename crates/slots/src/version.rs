//! Which of two versions is newer (UAPI group, *Version Format Specification*): the order that systemd-boot has.

use std::cmp::Ordering;

/// Compares two versions; greater is newer. Nothing is refused: characters that the specification does not know are skipped.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (skip(a, |c| !known(c)), skip(b, |c| !known(c)));
        // `1.0~rc1` comes before `1.0`
        if let Some(order) = separator(&mut a, &mut b, b'~') {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        for mark in [b'-', b'^', b'.'] {
            if let Some(order) = separator(&mut a, &mut b, mark) {
                return order;
            }
        }
        let digits = [a, b].iter().any(|side| side.first().is_some_and(u8::is_ascii_digit));
        let part = |side: &[u8]| {
            let other = |c: &u8| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphabetic() };
            side.iter().position(other).unwrap_or(side.len())
        };
        let (in_a, in_b) = (part(a), part(b));
        let order = if digits { number(&a[..in_a], &b[..in_b]) } else { a[..in_a].cmp(&b[..in_b]) };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[in_a..], &b[in_b..]);
    }
}

fn known(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"~-^.".contains(&c)
}

fn skip(text: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let start = text.iter().position(|c| !unwanted(*c)).unwrap_or(text.len());
    &text[start..]
}

/// Where one side has the mark and the other not, that decides; where both have it, it is behind them.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Option<Ordering> {
    match (a.first() == Some(&mark), b.first() == Some(&mark)) {
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (true, true) => {
            (*a, *b) = (&a[1..], &b[1..]);
            None
        }
        (false, false) => None,
    }
}

/// Numbers of any length; no number at all is less than any.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let order = (!a.is_empty()).cmp(&!b.is_empty());
    let (a, b) = (skip(a, |c| c == b'0'), skip(b, |c| c == b'0'));
    order.then(a.len().cmp(&b.len())).then(a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Oldest first; the examples are those of the specification, and versions of ours.
    #[test]
    fn the_order_is_that_of_the_specification() {
        let sorted = [
            "~rc1",
            "",
            "0.1",
            "0.1.0-kvm-amd64",
            "0.2.0~rc1",
            "0.2.0",
            "0.2.0-1",
            "0.2.0.1",
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
            "1000",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "`{a}` and `{b}`");
            }
        }
        assert_eq!(compare("1.002", "1.2"), Ordering::Equal);
        assert_eq!(compare("1.2", "1.10"), Ordering::Less);
        assert_eq!(compare("1_2", "1!2"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a-c.~^+-]{0,8}", b in "[0-9a-c.~^+-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
