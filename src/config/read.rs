//! One value of the file, read as what a key wants: the rules of single keys. Never sees another key's value; what
//! two keys must agree on is in `document`.
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::types::{Choice, Pem, Space, Workers};
use super::units::{format_size, format_time, parse_size, parse_time};

/// Why a value is refused; what is allowed instead stands in the table of keys.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// The reason, where what is allowed does not say it.
    pub why: Option<String>,
    /// The element at fault, if it is not the whole value.
    pub span: Option<Range<usize>>,
}

impl Refused {
    pub fn why(why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), span: None }
    }
}

pub(super) type Read<T> = Result<T, Refused>;

/// A value and the directory that relative paths start from.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub value: &'a Spanned<DeValue<'a>>,
    pub cwd: &'a Path,
}

const DAY: u64 = 86_400;
const MAX_NAME: usize = 64;

impl Given<'_> {
    pub fn wrong_type<T>(&self) -> Read<T> {
        Err(Refused::why(format!("wrong type: {}", self.value.get_ref().type_str())))
    }

    pub fn text(&self) -> Read<&str> {
        self.value.get_ref().as_str().map_or_else(|| self.wrong_type(), Ok)
    }

    fn number(&self) -> Read<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            return self.wrong_type();
        };
        // Beyond i128 only the sign is of interest, and both ways are refused.
        match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if number < 0 => Err(Refused::why("negative")),
            Ok(number) => u64::try_from(number).map_err(|_| Refused::why("too large")),
            Err(_) => Err(Refused::why("out of range")),
        }
    }

    /// `"0"` or 0: how a file says "off".
    fn is_off(&self) -> bool {
        self.value.get_ref().as_str() == Some("0") || self.number().is_ok_and(|number| number == 0)
    }

    pub fn yes_or_no(&self) -> Read<bool> {
        self.value.get_ref().as_bool().map_or_else(|| self.wrong_type(), Ok)
    }

    pub fn choice<T: Choice>(&self) -> Read<T> {
        T::from_name(self.text()?).ok_or_else(Refused::default)
    }

    pub fn workers(&self) -> Read<Workers> {
        match self.value.get_ref() {
            DeValue::String(text) if text == "auto" => Ok(Workers::Auto),
            DeValue::String(text) if text.parse::<u64>().is_ok() => {
                Err(Refused::why("a number is written without quotes"))
            }
            DeValue::String(_) => Err(Refused::default()),
            _ => match u16::try_from(self.number()?) {
                Ok(count @ 1..=64) => Ok(Workers::Count(count)),
                _ => Err(Refused::default()),
            },
        }
    }

    pub fn count_or_off(&self, allowed: RangeInclusive<u32>) -> Read<Option<u32>> {
        if self.is_off() {
            return Ok(None);
        }
        let count = u32::try_from(self.number()?).ok().filter(|count| allowed.contains(count));
        count.map(Some).ok_or_else(Refused::default)
    }

    fn size(&self) -> Read<u64> {
        match self.value.get_ref() {
            DeValue::String(text) => parse_size(text).map_err(Refused::why),
            _ => self.number(),
        }
    }

    pub fn size_between(&self, allowed: RangeInclusive<u64>) -> Read<u64> {
        match self.size()? {
            size if size < *allowed.start() => Err(Refused::why(format!("below {}", format_size(*allowed.start())))),
            size if size > *allowed.end() => Err(Refused::why(format!("above {}", format_size(*allowed.end())))),
            size => Ok(size),
        }
    }

    /// A size of memory.
    pub fn memory(&self, allowed: RangeInclusive<u64>) -> Read<usize> {
        usize::try_from(self.size_between(allowed)?).map_err(|_| Refused::default())
    }

    pub fn size_or_off(&self, allowed: RangeInclusive<u64>) -> Read<Option<u64>> {
        if self.size()? == 0 { Ok(None) } else { self.size_between(allowed).map(Some) }
    }

    /// A size, or a part of the whole.
    pub fn space_or_off(&self) -> Read<Option<Space>> {
        let percent = self.text().ok().and_then(|text| text.strip_suffix('%'));
        let Some(digits) = percent else {
            return Ok(self.size_or_off(0..=u64::MAX)?.map(Space::Bytes));
        };
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let part = digits.parse().ok().filter(|part| plain && (1..=99).contains(part));
        part.map(|part| Some(Space::Percent(part))).ok_or_else(Refused::default)
    }

    fn time(&self) -> Read<Duration> {
        match self.value.get_ref() {
            DeValue::String(text) => parse_time(text).map_err(Refused::why),
            DeValue::Integer(_) if self.is_off() => Ok(Duration::ZERO),
            DeValue::Integer(_) => Err(Refused::why("a time needs a unit")),
            _ => self.wrong_type(),
        }
    }

    pub fn time_between(&self, allowed: RangeInclusive<Duration>) -> Read<Duration> {
        match self.time()? {
            time if time < *allowed.start() => Err(Refused::why(format!("below {}", format_time(*allowed.start())))),
            time if time > *allowed.end() => Err(Refused::why(format!("above {}", format_time(*allowed.end())))),
            time => Ok(time),
        }
    }

    pub fn time_or_off(&self, allowed: RangeInclusive<Duration>) -> Read<Option<Duration>> {
        if self.time()?.is_zero() { Ok(None) } else { self.time_between(allowed).map(Some) }
    }

    /// The kernel takes keep-alive times in whole seconds.
    pub fn keepalive(&self, allowed: RangeInclusive<Duration>) -> Read<Option<Duration>> {
        match self.time_or_off(allowed)? {
            Some(time) if time.subsec_nanos() != 0 => Err(Refused::why("not whole seconds")),
            time => Ok(time),
        }
    }

    /// Clock-aligned rotation needs the same times every day, or midnights.
    pub fn interval(&self, allowed: RangeInclusive<Duration>) -> Read<Option<Duration>> {
        let Some(time) = self.time_or_off(allowed)? else {
            return Ok(None);
        };
        if time.subsec_nanos() != 0 {
            return Err(Refused::why("not whole seconds"));
        }
        let seconds = time.as_secs();
        if DAY.is_multiple_of(seconds) || seconds.is_multiple_of(DAY) {
            Ok(Some(time))
        } else {
            Err(Refused::why("neither a divisor of a day nor whole days"))
        }
    }

    pub fn prefix(&self) -> Read<String> {
        let text = self.text()?;
        let fits = (1..=MAX_NAME).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits && plain && !text.starts_with(['.', '-']) && text != "current" {
            Ok(text.to_owned())
        } else {
            Err(Refused::default())
        }
    }

    pub fn file_mode(&self) -> Read<u32> {
        match self.socket_mode()? {
            mode if mode & 0o002 != 0 => Err(Refused::why("everyone could write")),
            mode => Ok(mode),
        }
    }

    pub fn socket_mode(&self) -> Read<u32> {
        let text = self.text()?;
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let mode = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        match mode {
            None => Err(Refused::why("not an octal mode")),
            Some(mode) if mode & !0o777 != 0 => Err(Refused::why("only permission bits")),
            Some(mode) if mode & 0o111 != 0 => Err(Refused::why("executable")),
            Some(mode) if mode & 0o600 != 0o600 => Err(Refused::why("the daemon itself could not read and write")),
            Some(mode) => Ok(mode),
        }
    }

    /// A path, absolute, without `.`, doubled or trailing slashes, so that one place has one text.
    pub fn directory(&self) -> Read<PathBuf> {
        self.absolute(self.text()?)
    }

    pub fn absolute(&self, text: &str) -> Read<PathBuf> {
        if text.is_empty() {
            return Err(Refused::why("empty"));
        }
        if text.contains('\0') {
            return Err(Refused::why("a path cannot hold NUL"));
        }
        let path = std::path::absolute(self.cwd.join(text)).map_err(|e| Refused::why(e.to_string()))?;
        Ok(path.components().collect())
    }

    pub fn file(&self) -> Read<PathBuf> {
        let path = self.directory()?;
        if self.text()?.ends_with('/') || path.file_name().is_none() {
            return Err(Refused::why("names a directory"));
        }
        Ok(path)
    }

    pub fn pem_or_none(&self) -> Read<Option<Pem>> {
        match self.text()? {
            "" => Ok(None),
            text => match text.strip_prefix("credential:") {
                Some(name) if is_credential(name) => Ok(Some(Pem::Credential(name.to_owned()))),
                Some(_) => Err(Refused::why("not the name of a credential")),
                None => self.file().map(|path| Some(Pem::File(path))),
            },
        }
    }

    /// A program by its path, and its arguments; none of them can hold a NUL.
    pub fn program(&self) -> Read<Vec<String>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.wrong_type();
        };
        let mut words = Vec::with_capacity(array.len());
        for element in array {
            let one = Given { value: element, cwd: self.cwd };
            let word = one.text().and_then(|word| match word {
                _ if word.contains('\0') => Err(Refused::why("holds a NUL byte")),
                _ if words.is_empty() && !word.starts_with('/') => Err(Refused::why("not an absolute path")),
                _ => Ok(word.to_owned()),
            });
            words.push(word.map_err(|refused| Refused { span: Some(element.span()), ..refused })?);
        }
        Ok(words)
    }

    pub fn file_or_none(&self) -> Read<Option<PathBuf>> {
        if self.text()?.is_empty() { Ok(None) } else { self.file().map(Some) }
    }

    /// A user or group by name or number; whether it exists is the system's matter.
    pub fn account_or_none(&self) -> Read<Option<String>> {
        let text = self.text()?;
        let plain =
            text.len() <= 255 && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/'));
        match text {
            "" => Ok(None),
            _ if plain => Ok(Some(text.to_owned())),
            _ => Err(Refused::default()),
        }
    }
}

/// systemd.exec(5): a file name of ASCII.
fn is_credential(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    (1..=255).contains(&name.len()) && plain && !name.starts_with('.')
}
