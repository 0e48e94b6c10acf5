//! Values that are made of values, from their binary form to text: arrays, ranges, multiranges, hstore, tsvector.

use crate::value::decode;

/// Larger values, which would not be readable, are not parsed: their parts take more memory than they do.
pub(crate) const BYTES_MAX: usize = 8 << 10;
/// Longer names, which only a forged manifest has, would nest too deep.
const NAME_MAX: usize = 200;

/// The name by which an array of `element` is decoded.
pub(crate) fn array_of(element: &str) -> String {
    format!("{element}[]")
}

/// The name by which a range, or a multirange, over `subtype` is decoded.
pub(crate) fn range_of(subtype: &str, multi: bool) -> String {
    format!("{}({subtype})", if multi { "multirange" } else { "range" })
}

/// Structure of a value, by the name of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container<'a> {
    Array(&'a str),
    Range(&'a str),
    Multirange(&'a str),
}

impl<'a> Container<'a> {
    /// Returns the structure of a value of this type, if it is short enough to parse.
    pub(crate) fn of(base_type: &'a str, bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX || base_type.len() > NAME_MAX {
            return None;
        }
        let within = |prefix: &str| base_type.strip_prefix(prefix)?.strip_suffix(')');
        base_type
            .strip_suffix("[]")
            .map(Self::Array)
            .or_else(|| within("range(").map(Self::Range))
            .or_else(|| within("multirange(").map(Self::Multirange))
    }

    /// As PostgreSQL writes it.
    pub(crate) fn text(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Array(element) => Array::read(bytes)?.text(element),
            Self::Range(subtype) => Range::read(bytes)?.text(subtype),
            Self::Multirange(subtype) => {
                let ranges = ranges(bytes)?.into_iter().map(|range| Range::read(range)?.text(subtype));
                Some(format!("{{{}}}", ranges.collect::<Option<Vec<_>>>()?.join(",")))
            }
        }
    }
}

/// A reader of what `*_send` functions of PostgreSQL write.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn int4(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn count(&mut self) -> Option<usize> {
        self.int4()?.try_into().ok()
    }

    /// A value behind its length; a NULL has the length -1.
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        match self.int4()? {
            -1 => Some(None),
            length => self.take(length.try_into().ok()?).map(Some),
        }
    }
}

/// An array: the lower bound and the size of each dimension, and the elements.
pub(crate) struct Array<'a> {
    dimensions: Vec<(i32, usize)>,
    pub(crate) elements: Vec<Option<&'a [u8]>>,
}

/// PostgreSQL's own limit (MAXDIM).
const DIMENSIONS_MAX: usize = 6;

impl<'a> Array<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Cursor(bytes);
        let count = from.count().filter(|count| *count <= DIMENSIONS_MAX)?;
        // Whether there are NULLs, and the element type's object id.
        from.take(8)?;
        let mut dimensions = Vec::new();
        for _ in 0..count {
            let size = from.count()?;
            dimensions.push((from.int4()?, size));
        }
        let mut elements = Vec::new();
        while !from.0.is_empty() {
            elements.push(from.field()?);
        }
        let sizes = dimensions.iter().try_fold(1_usize, |all, (_, size)| all.checked_mul(*size))?;
        let expected = if dimensions.is_empty() { 0 } else { sizes };
        (elements.len() == expected).then_some(Self { dimensions, elements })
    }

    fn text(&self, element: &str) -> Option<String> {
        let texts = self.elements.iter().map(|value| match value {
            None => Some("NULL".to_owned()),
            Some(bytes) => Some(quoted_element(&decode(element, bytes)?)),
        });
        let mut texts: Vec<String> = texts.collect::<Option<_>>()?;
        // From the innermost dimension outwards, so many texts become one.
        for (_, size) in self.dimensions.iter().rev() {
            texts = texts.chunks((*size).max(1)).map(|part| format!("{{{}}}", part.join(","))).collect();
        }
        let bounds: String = match self.dimensions.iter().any(|(lower, _)| *lower != 1) {
            false => String::new(),
            true => {
                let bound = |(lower, size): &(i32, usize)| {
                    format!("[{lower}:{}]", i64::from(*lower) + i64::try_from(*size).unwrap_or(0) - 1)
                };
                self.dimensions.iter().map(bound).collect::<String>() + "="
            }
        };
        Some(format!("{bounds}{}", texts.pop().unwrap_or_else(|| "{}".to_owned())))
    }
}

fn quoted_element(text: &str) -> String {
    let special = |c: char| c.is_ascii_whitespace() || "{}\",\\".contains(c);
    if text.is_empty() || text.contains(special) || text.eq_ignore_ascii_case("null") {
        escaped(text)
    } else {
        text.to_owned()
    }
}

fn escaped(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A range: its flags (`RANGE_*` of PostgreSQL) and its finite bounds.
pub(crate) struct Range<'a> {
    flags: u8,
    pub(crate) lower: Option<&'a [u8]>,
    pub(crate) upper: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUDED: u8 = 0x02;
    const UPPER_INCLUDED: u8 = 0x04;
    const LOWER_INFINITE: u8 = 0x08;
    const UPPER_INFINITE: u8 = 0x10;

    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&flags, rest) = bytes.split_first()?;
        let mut from = Cursor(rest);
        let mut bound = |infinite: u8| match flags & (Self::EMPTY | infinite) {
            0 => Some(Some(from.field()??)),
            _ => Some(None),
        };
        let (lower, upper) = (bound(Self::LOWER_INFINITE)?, bound(Self::UPPER_INFINITE)?);
        from.0.is_empty().then_some(Self { flags, lower, upper })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flags & Self::EMPTY != 0
    }

    fn text(&self, subtype: &str) -> Option<String> {
        if self.is_empty() {
            return Some("empty".to_owned());
        }
        let bound = |bytes: Option<&[u8]>| match bytes {
            None => Some(String::new()),
            Some(bytes) => decode(subtype, bytes).map(|text| quoted_bound(&text)),
        };
        let included = |flag, yes, no| if self.flags & flag == 0 { no } else { yes };
        Some(format!(
            "{}{},{}{}",
            included(Self::LOWER_INCLUDED, '[', '('),
            bound(self.lower)?,
            bound(self.upper)?,
            included(Self::UPPER_INCLUDED, ']', ')')
        ))
    }
}

fn quoted_bound(text: &str) -> String {
    let special = |c: char| c.is_ascii_whitespace() || "()[],\"\\".contains(c);
    if text.is_empty() || text.contains(special) { escaped(text) } else { text.to_owned() }
}

/// The ranges of a multirange.
pub(crate) fn ranges(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut from = Cursor(bytes);
    let count = from.count()?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        ranges.push(from.field()??);
    }
    from.0.is_empty().then_some(ranges)
}

/// `hstore_send`: pairs of a key and a value or NULL.
pub(crate) fn hstore(bytes: &[u8]) -> Option<String> {
    let mut from = Cursor(bytes);
    let count = from.count()?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let key = std::str::from_utf8(from.field()??).ok()?;
        let value = match from.field()? {
            None => "NULL".to_owned(),
            Some(value) => escaped(std::str::from_utf8(value).ok()?),
        };
        pairs.push(format!("{}=>{value}", escaped(key)));
    }
    from.0.is_empty().then(|| pairs.join(", "))
}

/// `tsvectorsend`: lexemes with their positions and weights.
pub(crate) fn tsvector(bytes: &[u8]) -> Option<String> {
    let mut from = Cursor(bytes);
    let count = from.count()?;
    let mut lexemes = Vec::new();
    for _ in 0..count {
        let end = from.0.iter().position(|byte| *byte == 0)?;
        let lexeme = std::str::from_utf8(from.take(end)?).ok()?.replace('\\', "\\\\").replace('\'', "''");
        from.take(1)?;
        let short = |from: &mut Cursor<'_>| Some(u16::from_be_bytes(from.take(2)?.try_into().ok()?));
        let mut positions = Vec::new();
        for _ in 0..short(&mut from)? {
            let position = short(&mut from)?;
            let weight = ["", "C", "B", "A"][usize::from(position >> 14)];
            positions.push(format!("{}{weight}", position & 0x3fff));
        }
        let colon = if positions.is_empty() { "" } else { ":" };
        lexemes.push(format!("'{lexeme}'{colon}{}", positions.join(",")));
    }
    from.0.is_empty().then(|| lexemes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an array of int4 whose only dimension begins at `lower`.
    fn array(lower: i32, elements: &[Option<i32>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1, 0, 23, elements.len() as i32, lower] {
            bytes.extend(word.to_be_bytes());
        }
        for element in elements {
            bytes.extend(element.map_or(-1, |_| 4_i32).to_be_bytes());
            bytes.extend(element.map(i32::to_be_bytes).into_iter().flatten());
        }
        bytes
    }

    fn range(flags: u8, bounds: &[i32]) -> Vec<u8> {
        let bound = |bound: &i32| [4_i32.to_be_bytes(), bound.to_be_bytes()].concat();
        [vec![flags], bounds.iter().flat_map(bound).collect()].concat()
    }

    #[test]
    fn what_is_too_long_is_no_container() {
        let longest = vec![0; BYTES_MAX];
        assert_eq!(Container::of("int4[]", &longest), Some(Container::Array("int4")));
        assert_eq!(Container::of("int4[]", &[longest, vec![0]].concat()), None);
        let name = format!("{}[]", "x".repeat(NAME_MAX - 2));
        assert_eq!(Container::of(&name, &[]), Some(Container::Array(&name[..NAME_MAX - 2])));
        assert_eq!(Container::of(&format!("x{name}"), &[]), None);
    }

    #[test]
    fn containers_are_written_as_postgresql_writes_them() {
        let mut multirange = 2_i32.to_be_bytes().to_vec();
        multirange.extend(17_i32.to_be_bytes());
        multirange.extend(range(2, &[1, 3]));
        multirange.extend(17_i32.to_be_bytes());
        multirange.extend(range(2, &[5, 7]));
        for (base_type, bytes, text) in [
            ("int4[]", array(1, &[Some(1), None, Some(-2)]), "{1,NULL,-2}"),
            ("int4[]", array(0, &[Some(7)]), "[0:0]={7}"),
            ("int4[]", [0_i32, 0, 23].iter().flat_map(|word| word.to_be_bytes()).collect(), "{}"),
            ("range(int4)", range(2, &[1, 5]), "[1,5)"),
            ("range(int4)", range(1, &[]), "empty"),
            ("range(int4)", range(8, &[5]), "(,5)"),
            ("range(int4)", range(2 | 16, &[5]), "[5,)"),
            ("multirange(int4)", multirange, "{[1,3),[5,7)}"),
        ] {
            assert_eq!(decode(base_type, &bytes).as_deref(), Some(text), "{base_type}");
            for end in 0..bytes.len() {
                // Cut values are shown as hexadecimal, and never panic.
                let _ = decode(base_type, &bytes[..end]);
            }
        }
        let matrix: Vec<u8> =
            [2, 0, 23, 2, 1, 2, 1].iter().flat_map(|word: &i32| word.to_be_bytes()).collect();
        let cells = (1..=4_i32).flat_map(|cell| [4_i32.to_be_bytes(), cell.to_be_bytes()].concat());
        let matrix: Vec<u8> = matrix.into_iter().chain(cells).collect();
        assert_eq!(decode("int4[]", &matrix).as_deref(), Some("{{1,2},{3,4}}"));
        assert_eq!(quoted_element("a \"b\""), r#""a \"b\"""#);
        assert_eq!((quoted_element("null"), quoted_element("")), ("\"null\"".into(), "\"\"".into()));
    }

    #[test]
    fn hostile_containers_are_not_read() {
        for bytes in
            [&[][..], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff], &[0, 0, 0, 1], &[0, 0, 0, 1, 0x80, 0, 0, 0]]
        {
            for base_type in ["int4[]", "multirange(int4)", "hstore", "tsvector"] {
                assert_eq!(decode(base_type, bytes), None, "{base_type} {bytes:?}");
            }
        }
        assert_eq!(decode("range(int4)", &[0]), None);
    }
}
