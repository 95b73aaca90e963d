//! The bytes of a segment, whether it is compressed or not: read as a stream, never unpacked to the disk.
//!
//! Bytes come from disks: a compressed file that is damaged, or ends early, is an error, never a short segment.
use super::names::Form;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Take};

/// A segment, being read from its beginning.
pub enum Content {
    /// As it is.
    Plain(Take<File>),
    /// Through gzip.
    Gzip(Take<MultiGzDecoder<File>>),
    /// Through zstd.
    Zstd(Take<zstd::Decoder<'static, BufReader<File>>>),
}

impl Content {
    /// The first `end` bytes of what `file` holds.
    ///
    /// # Errors
    /// There is no memory for a decoder.
    pub fn new(file: File, form: Form, end: u64) -> io::Result<Self> {
        Ok(match form {
            Form::Plain => Self::Plain(file.take(end)),
            Form::Gzip => Self::Gzip(MultiGzDecoder::new(file).take(end)),
            Form::Zstd => Self::Zstd(zstd::Decoder::new(file)?.take(end)),
        })
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = match self {
            Self::Plain(_) => Form::Plain,
            Self::Gzip(_) => Form::Gzip,
            Self::Zstd(_) => Form::Zstd,
        };
        write!(f, "Content({form:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    fn compressed(form: Form, bytes: &[u8]) -> Vec<u8> {
        match form {
            Form::Plain => bytes.to_owned(),
            Form::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Form::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn read(form: Form, stored: &[u8], end: u64) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(stored).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut bytes = Vec::new();
        Content::new(file, form, end)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn every_form_gives_the_same_bytes() {
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for form in Form::ALL {
            let stored = compressed(form, &bytes);
            assert_eq!(read(form, &stored, u64::MAX).unwrap(), bytes);
            assert_eq!(read(form, &stored, 1000).unwrap(), bytes[..1000]);
        }
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let bytes = vec![7; 100_000];
        for form in [Form::Gzip, Form::Zstd] {
            let stored = compressed(form, &bytes);
            for length in [1, stored.len() / 2, stored.len() - 1] {
                assert!(read(form, &stored[..length], u64::MAX).is_err(), "{form:?}, {length} bytes");
            }
        }
    }
}
