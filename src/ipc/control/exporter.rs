//! What the supervisor says to the exporter.
use super::Message;
use crate::ipc::report::Report;
use crate::sys::memory::memfd;
use crate::sys::{AsFd, AsRawFd, OwnedFd, RawFd, file};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// No report is longer, in bytes.
const MAX_REPORT: usize = 16 << 20;

/// Supervisor → exporter.
#[derive(Debug)]
pub enum ToExporter {
    /// How the daemon is: the answer to [`ToSupervisor::Ask`](super::ToSupervisor::Ask).
    Report(Sheet),
    /// Leave; a successor with another configuration, or nobody, goes on.
    Leave,
}

/// A [`Report`] on its way: JSON in a file of its own in memory, for a packet has no room for it.
#[derive(Debug)]
pub struct Sheet(OwnedFd);

impl Sheet {
    /// Writes it down.
    pub fn write(report: &Report) -> io::Result<Self> {
        let text = serde_json::to_vec(report)?;
        let sheet = File::from(memfd("report", 0)?);
        // The position, which the reader shares, stays at the beginning.
        sheet.write_all_at(&text, 0)?;
        Ok(Self(sheet.into()))
    }

    /// Reads it, once.
    ///
    /// # Errors
    /// It cannot be read, or is no report.
    pub fn read(&self) -> io::Result<Report> {
        let mut text = Vec::new();
        while file::read_append(self.0.as_fd(), &mut text, 64 << 10)? > 0 {
            if text.len() > MAX_REPORT {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(serde_json::from_slice(&text)?)
    }
}

impl Message for ToExporter {
    fn encode(&self) -> (Vec<u8>, Vec<RawFd>) {
        match self {
            Self::Report(sheet) => (vec![0], vec![sheet.0.as_raw_fd()]),
            Self::Leave => (vec![1], vec![]),
        }
    }

    fn decode(bytes: &[u8], mut fds: Vec<OwnedFd>) -> Option<Self> {
        match bytes {
            [0] => Some(Self::Report(Sheet(fds.pop()?))),
            [1] => Some(Self::Leave),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::control::{Channel, Received, ToSupervisor};
    use crate::ipc::report::Worker;
    use crate::sys::fdpass;

    #[test]
    fn a_report_crosses_whole_and_again() {
        let (ours, theirs) = fdpass::pair().unwrap();
        let mut supervisor = Channel::<ToExporter, ToSupervisor>::new(ours);
        let exporter = Channel::<ToSupervisor, ToExporter>::new(theirs);
        for workers in [0, 1000] {
            let report = Report { workers: vec![Worker::default(); workers], ..Report::default() };
            supervisor.send(ToExporter::Report(Sheet::write(&report).unwrap()));
            match exporter.receive().unwrap() {
                Received::Message(ToExporter::Report(sheet)) => assert_eq!(sheet.read().unwrap(), report),
                other => panic!("{other:?}"),
            }
        }
        assert!(ToExporter::decode(&[0], vec![]).is_none() && ToExporter::decode(&[2], vec![]).is_none());
    }
}
